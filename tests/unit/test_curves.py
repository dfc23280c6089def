"""Thresholds on candidate pairs, beside counting them one threshold at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.curves import curve

PAIRS = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9, 0.95]), st.booleans()), max_size=30)


@given(PAIRS, st.integers(0, 5))
def test_every_point_is_what_counting_gives(pairs: list[tuple[float, bool]], lost: int) -> None:
    scores, same = np.array([s for s, _ in pairs], float), np.array([y for _, y in pairs], bool)
    total = int(same.sum()) + lost
    found = curve(scores, same, total)
    assert found.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for threshold, precision, recall in zip(found.thresholds, found.precision, found.recall, strict=True):
        kept = same[scores >= threshold]
        assert precision == pytest.approx(kept.mean())
        assert recall == pytest.approx(kept.sum() / max(total, 1))


@given(PAIRS.filter(bool))
def test_no_threshold_does_better_than_the_best(pairs: list[tuple[float, bool]]) -> None:
    scores, same = np.array([s for s, _ in pairs], float), np.array([y for _, y in pairs], bool)
    found = curve(scores, same, float(same.sum()))
    f1, threshold = found.best()
    kept = scores >= threshold - 1e-9
    assert f1 == pytest.approx(2 * same[kept].sum() / (kept.sum() + same.sum()), abs=1e-4)
    assert f1 == pytest.approx(found.f1.max(), abs=1e-4)


def test_recall_at_a_precision() -> None:
    found = curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]), 4)
    assert found.recall_at(0.99) == 0.5
    assert found.recall_at(0.7) == 0.75
    assert curve(np.array([0.9]), np.array([False]), 4).recall_at(0.5) == 0


def test_nothing_to_choose_from() -> None:
    assert curve(np.zeros(0), np.zeros(0, bool), 3).best() == (0.0, 1.0)
