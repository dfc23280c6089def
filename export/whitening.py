"""Directions in which a population varies little count for more: the matrix that makes it so, fitted and shrunk."""

import numpy as np

from consumer.records import Doubles

_LEAST = 1e-6


def whitening(covariance: Doubles, shrink: float) -> Doubles:
    """float64 [width, width]: rows times this have about unit variance, in the directions of most variance first.

    `shrink` times the mean variance is added to every direction, so that one without any is not blown up.
    """
    variance, directions = np.linalg.eigh(covariance)
    order = np.argsort(variance)[::-1]
    floor = max(shrink * float(np.maximum(variance, 0).mean()), _LEAST)
    scaled: Doubles = directions[:, order] / np.sqrt(np.maximum(variance[order], 0) + floor)
    return scaled


def principal(rows: Doubles, dim: int) -> Doubles:
    """float64 [width, dim]: the `dim` directions in which `rows` vary most."""
    variance, directions = np.linalg.eigh(np.cov(rows, rowvar=False))
    kept: Doubles = directions[:, np.argsort(variance)[::-1][:dim]]
    return kept
