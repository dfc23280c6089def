"""What decides beside similarities: how crowded the neighbourhood of a record is, how complete records are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.comparison import Comparison
from consumer.records import Bools, Doubles, Integers


@dataclass(frozen=True, slots=True)
class Terms:
    """Of n pairs: one term a kind of crowding, then the quality of the pair where it is asked for."""

    rows: Integers
    """int64 [n], the place of each pair's row among rows."""
    seen: Doubles
    """[rows, terms], what a row shows of its scope."""
    values: Doubles
    """[n, terms], what there is of it about a pair."""
    counts: Bools
    """[n, terms]; a modality that one of the two lacks says nothing, nor does how common it is."""

    def beyond(self, usual: Doubles) -> Doubles:
        """How much more than usual, float64 [n, terms], given what is usual at each row, [rows, terms]."""
        return np.asarray((self.values - usual[self.rows]) * self.counts, np.float64)


def terms_of(
    pairs: Comparison, modalities: Sequence[int], crowding: Mapping[int, float], *, quality: bool = False
) -> Terms:
    """Look at the pairs of whole rows. `modalities` are what a decider weighs, by number.

    Crowding of a modality is the logarithm of one more than the candidates from that cosine on. The quality of a record is the
    share of `modalities` that it has, that of a pair the better of the two: who both lack something look alike in what
    little they have.
    """
    starts, rows = whole_rows(pairs.rows)
    there = pairs.present[:, list(crowding)]
    near = (pairs.similarities[:, list(crowding)] >= list(crowding.values())) & there
    crowded = (
        np.log1p(np.add.reduceat(near.astype(np.float64), starts, axis=0)) if len(starts) else np.zeros(there.shape)
    )
    if not quality:
        return Terms(rows, crowded, crowded[rows], there)
    complete = pairs.completeness(modalities)
    return Terms(
        rows,
        seen=np.column_stack([crowded, complete[starts, 0]]),
        values=np.column_stack([crowded[rows], complete.max(axis=1)]),
        counts=np.column_stack([there, np.ones(len(rows), bool)]),
    )


def whole_rows(rows: Integers) -> tuple[Integers, Integers]:
    """Where the pairs of each row start, int64 [rows], and the place of each pair's row among rows, int64 [n]."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    return starts, np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows))))
