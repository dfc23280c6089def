"""A price as a vector whose cosine depends on the ratio of two prices alone, whatever the currency.

The logarithm of the price goes round several circles at once, each of another circumference. Near prices are near on all
of them; far ones are near on some and opposite on others, so that nothing far away looks alike by going round.

    ratio    1     1.1   1.2   1.5   2     3      4      8      more
    cosine   1     .98   .92   .64   .11   -.51   -.65   -.21   below .25
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from consumer.records import Embeddings, FieldValue

_REVISION = "price-1"
OCTAVES = np.array([2.8, 3.46, 3.81, 4.11, 4.69, 5.35, 6.25, 7.45])
"""Circumferences, in doublings of the price. Chosen by random search for the lowest cosine beyond a doubling."""
MIN_PRICE, MAX_PRICE = 0.1, 1e8
"""What lies outside is no price but a placeholder: absent, as 0 is."""


class PriceEncoder:
    """Encode one number. Implements `consumer.ports.Encoder`. A price of 0, below or beyond reason is absent."""

    def __init__(self, field: str) -> None:
        self._field = field

    @property
    def dim(self) -> int:
        return 2 * len(OCTAVES)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((_REVISION, self._field)).encode()).hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, 16] unit rows."""
        octaves = np.array([_octaves(row.get(self._field)) for row in rows], np.float64)
        present = ~np.isnan(octaves)
        angles = 2 * np.pi * np.where(present, octaves, 0)[:, None] / OCTAVES
        circles = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / math.sqrt(len(OCTAVES))
        return Embeddings(np.where(present[:, None], circles, 0).astype(np.float32), present)


def _octaves(value: FieldValue | None) -> float:
    """The logarithm of a price to the base 2; NaN where it is none."""
    if not isinstance(value, int | float) or not MIN_PRICE <= value <= MAX_PRICE:
        return math.nan
    return math.log2(value)
