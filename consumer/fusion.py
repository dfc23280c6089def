"""Pure scoring: per-modality similarities of a pair → match probability with its contributions.

Each record is one vector: unit blocks, one a modality, each scaled by the root of its weight. The inner product of two
such vectors is the weighted sum of their cosines, so the index searches by the fused score itself; here the blocks are
taken apart again, and the score is taken over the modalities present in both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consumer.profile import FusionSpec
from consumer.records import Bools, Floats, Halves, Integers, Match

DECIMALS = 5
"""Cosines are rounded here, so that float noise of one batch shape or another decides nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each modality lies in a vector."""

    names: Sequence[str]
    dims: Sequence[int]
    weights: Sequence[float]
    """Sum to 1."""

    @property
    def dim(self) -> int:
        return sum(self.dims)

    @property
    def blocks(self) -> list[slice]:
        ends = np.cumsum(self.dims)
        return [slice(int(end) - dim, int(end)) for end, dim in zip(ends, self.dims, strict=True)]

    def fuse(self, blocks: Sequence[Floats], present: Sequence[Bools]) -> tuple[Halves, list[int]]:
        """Unit blocks of n records, one array a modality → float16 [n, dim] and the mask of each row."""
        scaled = [block * np.float32(weight**0.5) for block, weight in zip(blocks, self.weights, strict=True)]
        masks = sum((p.astype(np.int64) << i for i, p in enumerate(present)), np.zeros(len(blocks[0]), np.int64))
        return np.concatenate(scaled, axis=1).astype(np.float16), [int(m) for m in masks]

    def similarities(self, left: Floats, right: Floats) -> Floats:
        """Cosine per modality of n pairs: two float32 [n, dim] → float32 [n, modalities]; 0 where one is missing."""
        product = left * right
        starts = [block.start for block in self.blocks]
        cosines = np.add.reduceat(product, starts, axis=1) / np.asarray(self.weights, np.float32)
        return np.round(cosines, DECIMALS)


@dataclass(frozen=True, slots=True)
class WeightedFusion:
    """The weighted mean of the cosines present in both records, turned into log-odds around the threshold.

    A modality's contribution is slope · its share of the weight present · (its cosine minus the threshold); they sum to the
    logit of the probability, which is one half at the threshold.
    """

    layout: Layout
    spec: FusionSpec

    def judge(self, ids: Sequence[str], similarities: Floats, shared: Integers) -> list[Match | None]:
        """Decide n pairs: candidates `ids`, float32 [n, modalities], and the mask of modalities both have.

        None where the pair is different, or shares nothing.
        """
        if not ids:
            return []
        count = len(self.layout.names)
        present = (np.asarray(shared)[:, None] >> np.arange(count)) & 1
        weights = present * np.asarray(self.layout.weights)
        evidence = weights.sum(axis=1)
        shares = weights / np.maximum(evidence, 1e-9)[:, None]
        scores = np.round((shares * similarities).sum(axis=1), DECIMALS)
        kept = np.flatnonzero((scores >= self.spec.possible) & (evidence > 0))
        matches: list[Match | None] = [None] * len(ids)
        for i in kept.tolist():
            enough = bool(evidence[i] >= self.spec.min_evidence - 1e-9)
            matches[i] = self._match(ids[i], similarities[i], shares[i], float(scores[i]), enough=enough)
        return matches

    def _match(self, record_id: str, similarities: Floats, shares: Floats, score: float, *, enough: bool) -> Match:
        spec = self.spec
        logit = spec.slope * (score - spec.duplicate)
        present = [
            (name, float(c), float(s)) for name, c, s in zip(self.layout.names, similarities, shares, strict=True) if s
        ]
        return Match(
            id=record_id,
            probability=round(1 / (1 + math.exp(min(-logit, 700.0))), 4),
            duplicate=score >= spec.duplicate and enough,
            similarities={name: round(cosine, 4) for name, cosine, _ in present},
            contributions={name: round(spec.slope * s * (c - spec.duplicate), 4) for name, c, s in present},
        )
