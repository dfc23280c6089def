"""Where the modalities of a record lie in its vector.

Each record is one vector: unit blocks, one a modality, each scaled by the root of its weight. The inner product of two
such vectors is the weighted sum of their cosines, so the index searches by the fused score itself; here the blocks are
put together, and taken apart again, for a pair is judged over the modalities present in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consumer.records import Bools, Floats, Halves
from consumer.whitening import Span, Whitening

DECIMALS = 5
"""What decides is rounded here, so that float noise of one batch shape or another decides nothing."""


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

    def spans(self, names: Sequence[str]) -> list[Span]:
        """Where some modalities lie."""
        blocks = list(enumerate(zip(self.names, self.blocks, self.weights, strict=True)))
        return [Span(n, block.start, block.stop, weight) for n, (name, block, weight) in blocks if name in names]

    def cosines(self, left: Floats, right: Floats, whitening: Whitening | None = None) -> Floats:
        """Of float32 [..., dim] with another, by modality: float32 [..., modalities]; 0 where one of the two is missing.

        A pair does not depend on others.
        """
        starts = [block.start for block in self.blocks]
        products = np.add.reduceat(left * right, starts, axis=-1)
        cosines = np.asarray(products / np.asarray(self.weights, np.float32), np.float32)
        for block in whitening.blocks if whitening else ():
            cosines[..., block.span.number] = block.cosines(left, right)
        return np.asarray(np.round(cosines, DECIMALS), np.float32)
