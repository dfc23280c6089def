"""Pairwise F1 at the best of all thresholds: what a similarity could do if somebody knew where to cut it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = Callable[[int, int], Floats]
"""Similarities in [-1, 1] of records first (incl.) to last (excl.) with all records, float32 [last - first, n]."""

_BINS = 4_000
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Best:
    """The highest F1, and the lowest similarity that still counts as a match there, to 1/2,000."""

    f1: float
    threshold: float


def best(rows: Rows, entities: Sequence[str], sides: Sequence[str] = ()) -> Best:
    """Over all pairs of records; with `sides`, over those of two sides. Scores are cut in steps of 1/2,000."""
    code = np.unique(np.asarray(entities), return_inverse=True)[1]
    side = np.unique(np.asarray(sides), return_inverse=True)[1] if len(sides) else None
    everything, true = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
    for first, last in _blocks(len(code)):
        counted = np.arange(len(code))[None, :] > np.arange(first, last)[:, None]
        if side is not None:
            counted &= side[first:last, None] != side[None, :]
        place = _places(rows(first, last)[counted])
        everything += np.bincount(place, minlength=_BINS)
        true += np.bincount(place[(code[first:last, None] == code[None, :])[counted]], minlength=_BINS)
    return _best(everything, true)


def best_of_judged(similarities: Floats, matches: Sequence[bool]) -> Best:
    """Over judged pairs only: float32 [n] and whether each matches."""
    place = _places(similarities)
    true = np.bincount(place[np.asarray(matches, np.bool_)], minlength=_BINS)
    return _best(np.bincount(place, minlength=_BINS), true)


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    return ((first, min(count, first + _BLOCK)) for first in range(0, count, _BLOCK))


def _places(similarities: Floats) -> npt.NDArray[np.int64]:
    # 1 falls into the highest bin; rounding errors beyond it too.
    return np.clip((similarities.astype(np.float64) + 1) * (_BINS / 2), 0, _BINS - 1).astype(np.int64)


def _best(everything: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> Best:
    """Counts per bin, lowest similarity first."""
    found, right = np.cumsum(everything[::-1]), np.cumsum(true[::-1])
    f1 = 2 * right / np.maximum(found + right[-1], 1)
    at = int(np.argmax(f1))
    return Best(float(f1[at]), (_BINS - 1 - at) * 2 / _BINS - 1)
