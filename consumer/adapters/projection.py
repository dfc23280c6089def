"""Fewer numbers for a vector, such that who is near stays near: what a graph of candidates is built on.

The principal axes of the scope's own first vectors, the strongest, each divided by the fourth root of its variance, and
the outcome brought to length 1. Axes by themselves keep what strangers have in common (cities, the commonest names) and
lose what makes two records the same; half whitening and the length 1 give that its weight back (measured in
docs/performance.md).
"""

from dataclasses import dataclass

import numpy as np

from consumer.records import Doubles, Floats

ROWS_PER_AXIS = 10
"""So many vectors at least for each axis that is learnt."""
_DECIMALS = 6
"""What a matrix product leaves in the last digits depends on the shape of the batch; the graph must not."""
_LEAST_VARIANCE = 1e-4
"""Of the largest: below it is noise, which must not be blown up."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Without axes, vectors stay as they are."""

    axes: Doubles | None
    """float64 [dim, fewer], scaled."""

    @classmethod
    def learnt(cls, products: Doubles, fewer: int) -> "Projection":
        """The one that suits vectors, given the sum of their products, float64 [dim, dim]; none if dim is <= `fewer`."""
        if len(products) <= fewer:
            return cls(None)
        variances, axes = np.linalg.eigh(products)
        variances, axes = variances[::-1][:fewer], axes[:, ::-1][:, :fewer]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(fewer)])  # either sign is an axis
        relative = np.maximum(variances / variances[0], _LEAST_VARIANCE)
        return cls(np.ascontiguousarray(axes * relative**-0.25))

    def __call__(self, vectors: Floats) -> Floats:
        """float32 [n, dim] → float32 [n, fewer] of length 1; a row of zeros stays one."""
        if self.axes is None:
            return vectors
        rows = vectors.astype(np.float64) @ self.axes
        lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
        shortened: Floats = np.round(rows / np.maximum(lengths, 1e-12), _DECIMALS).astype(np.float32)
        return shortened

    def width(self, dim: int) -> int:
        """Numbers that are left of a vector of `dim`."""
        return dim if self.axes is None else self.axes.shape[1]
