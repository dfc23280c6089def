"""Which record of a cluster to keep: the one nearest to what all of them say, among the good ones.

The rule is that of quality-aware semantic deduplication (Q-SemDeDup: SemDeDup, Abbas et al. 2023, with a term for quality):

    score = alpha * closeness + (1 - alpha) * quality

Closeness is the cosine of a record's vector with the centroid of the cluster. Vectors are brought to length 1 first, so
alpha = 1 keeps the medoid under the cosine, and the two records of a pair are always equally close: there quality decides.

Quality is 0 to 1 by the profile's own scale, not stretched over the cluster: what a record is worth then does not depend on
who else is there, and a difference of nothing stays one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.layout import DECIMALS
from consumer.records import Doubles, Floats, Member


@dataclass(frozen=True, slots=True)
class Keeper:
    """Names the record to keep. Ties go to the better quality, then the earlier birth, then the lesser id."""

    alpha: float
    """0 to 1: what closeness weighs; the rest is quality's."""
    vectors: Callable[[Sequence[str]], Floats]
    """Record ids → float32 [n, dim], their fused vectors; a row of zeros where there is none."""

    def __call__(self, members: Mapping[str, Member]) -> str:
        """The record to keep of one or more; the same for any order of the same members."""
        ids = sorted(members)
        near = self._closeness(ids)

        def rank(i: int) -> tuple[float, float, int, str]:
            member = members[ids[i]]
            score = round(self.alpha * near[i] + (1 - self.alpha) * member.quality, DECIMALS)
            return -score, -member.quality, member.born_ms, ids[i]

        return ids[min(range(len(ids)), key=rank)]

    def _closeness(self, ids: Sequence[str]) -> list[float]:
        """Per record; equal where it cannot tell them apart, and then no vector is asked for."""
        if self.alpha == 0 or len(ids) <= 2:
            return [0.0] * len(ids)
        return [float(c) for c in closeness(self.vectors(ids))]


def closeness(vectors: Floats) -> Doubles:
    """Cosine of each row of float32 [n, dim] with the centroid of the unit rows, rounded; float64 [n].

    A row of zeros (a record that has no vector, or nothing to compare) takes no part in the centroid, and is as far from
    it as the farthest that has one: what is not known of a record speaks for no one.
    """
    rows = vectors.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    there = lengths > 0
    units = rows[there] / lengths[there, None]
    centre = units.sum(axis=0)
    length = float(np.linalg.norm(centre))
    near = np.round(units @ centre / length, DECIMALS) if length > 0 else np.zeros(len(units))
    found = np.full(len(rows), near.min() if len(near) else 0.0)
    found[there] = near
    return found
