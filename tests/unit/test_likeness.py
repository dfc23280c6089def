"""Cosines are mapped as promised: copies stay at 1, what is unlike falls to the floor, and order is kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.likeness import Likeness
from consumer.records import Floats


def pair(cosine: float, dim: int = 128, seed: int = 0) -> Floats:
    """Two unit rows with that cosine."""
    first, other = np.random.default_rng(seed).standard_normal((2, dim))
    first /= np.linalg.norm(first)
    other -= other @ first * first
    other /= np.linalg.norm(other)
    return np.stack([first, cosine * first + math.sqrt(1 - cosine**2) * other]).astype(np.float32)


@given(st.floats(0, 0.95), st.floats(0.05, 2), st.floats(-1, 1), st.integers(0, 99))
def test_the_cosine_is_the_one_promised(floor: float, reach: float, cosine: float, seed: int) -> None:
    likeness = Likeness(floor, reach)
    made = likeness(pair(cosine, seed=seed))
    assert made.shape == (2, likeness.dim)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-4)
    wanted = floor + (1 - floor) * math.exp((cosine - 1) / reach)
    assert float(made[0] @ made[1]) == pytest.approx(wanted, abs=0.35 * (1 - floor) + 1e-4)


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.8, 0.9, 0.95, 1.0])
def test_on_average_it_is_exact(cosine: float) -> None:
    likeness = Likeness(0.6, 0.2)
    found = [float(np.prod(likeness(pair(cosine, seed=seed)), axis=0).sum()) for seed in range(60)]
    assert np.mean(found) == pytest.approx(0.6 + 0.4 * math.exp((cosine - 1) / 0.2), abs=0.02)
    assert np.std(found) < 0.03


def test_rows_do_not_depend_on_each_other_and_numbers_are_kept() -> None:
    rows = np.concatenate([pair(0.9, seed=seed) for seed in range(4)])
    likeness = Likeness(0.6, 0.2)
    together = likeness(rows)
    for i in range(len(rows)):
        assert np.allclose(Likeness(0.6, 0.2)(rows[i : i + 1])[0], together[i], atol=1e-5)
    assert likeness(rows[:0]).shape == (0, likeness.dim)
