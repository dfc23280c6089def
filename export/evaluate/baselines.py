"""What tells copies without a model: perceptual hashes, and histograms of colours."""

from collections.abc import Callable, Mapping, Sequence

import imagehash
import numpy as np

from export.evaluate.recall import Floats
from export.photos import picture
from export.transforms import Picture

Similarity = Callable[[Floats, Floats], Floats]


def describe(contents: Sequence[bytes]) -> Mapping[str, Floats]:
    """Files → per baseline a row for each of them."""
    rows = [_one(picture(content)) for content in contents]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def product(first: Floats, second: Floats) -> Floats:
    """Five decimals, as the matcher rounds: products of other shapes differ in the last bits."""
    return np.asarray(np.round(first @ second.T, 5), np.float32)


def bhattacharyya(first: Floats, second: Floats) -> Floats:
    return product(np.sqrt(first), np.sqrt(second))


def intersection(first: Floats, second: Floats) -> Floats:
    return np.stack([np.round(np.minimum(row, second).sum(1), 5) for row in first])


SIMILARITIES: Mapping[str, Similarity] = {
    "histogram, Bhattacharyya": bhattacharyya,
    "histogram, intersection": intersection,
}
"""Of the methods whose rows are not compared by their product."""


def _one(image: Picture) -> Mapping[str, Floats]:
    colours = _histogram(image)
    grey = image.convert("L")
    return {
        "pHash 64": _signs(imagehash.phash(grey, hash_size=8)),
        "pHash 256": _signs(imagehash.phash(grey, hash_size=16)),
        "dHash 64": _signs(imagehash.dhash(grey, hash_size=8)),
        "dHash 256": _signs(imagehash.dhash(grey, hash_size=16)),
        "histogram, Bhattacharyya": colours,
        "histogram, intersection": colours,
    }


def _signs(bits: imagehash.ImageHash) -> Floats:
    """±1 over the root of their number, so that a product is 1 less twice the share of bits that differ."""
    values = bits.hash.ravel()
    return np.asarray((values * 2.0 - 1) / np.sqrt(len(values)), np.float32)


def _histogram(image: Picture) -> Floats:
    """HSV, 8 by 8 by 8 bins, shares that sum to 1."""
    levels = (np.asarray(image.convert("HSV")) >> 5).astype(np.intp)
    counts = np.bincount(((levels[..., 0] * 8 + levels[..., 1]) * 8 + levels[..., 2]).ravel(), minlength=512)
    return np.asarray(counts / counts.sum(), np.float32)
