"""What a scope's stream teaches: the same in any batches, in the right direction, and never without end."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.beliefs import Beliefs, Expectations
from consumer.records import Doubles

MOST = 4.0
TRAINING_PAIRS = 500
USUAL = Expectations(usual=[0.7, 0.2], base_rate=0.1, damping=0.5)
SEEDS = st.integers(0, 2**32 - 1)


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def rows_of(log_odds: Doubles, rng: np.random.Generator) -> list[Doubles]:
    """Cut into rows of one to six pairs."""
    cuts = np.cumsum(rng.integers(1, 7, size=len(log_odds)))
    return np.split(log_odds, cuts[cuts < len(log_odds)])


def calibrated(pairs: int, rate: float, expected: Expectations, rng: np.random.Generator) -> Doubles:
    """Log-odds that would mean what they say at the base rate of training, of pairs with another share of matches."""
    apart = 4.0  # two bells whose log-likelihood ratio is their own abscissa
    same = rng.random(pairs) < rate
    ratio = rng.normal(np.where(same, 1, -1) * apart**2 / 2, apart)
    return np.asarray(ratio + logit(expected.base_rate), np.float64)


@settings(max_examples=25)
@given(SEEDS, st.sets(st.integers(1, 599)))
def test_rows_in_any_cuts_leave_the_same(seed: int, cuts: set[int]) -> None:
    rng = np.random.default_rng(seed)
    counts = np.log1p(rng.integers(0, 9, size=(600, 2)).astype(np.float64))
    log_odds = [rng.normal(-2, 4, size=int(n)) for n in rng.integers(1, 5, size=600)]
    whole, cut = Beliefs(), Beliefs()
    means, shifts = whole.usual(counts, USUAL), whole.shifts(log_odds, USUAL)
    places = list(pairwise([0, *sorted(cuts), 600]))
    assert np.array_equal(np.concatenate([cut.usual(counts[a:b], USUAL) for a, b in places]), means)
    assert np.array_equal(np.concatenate([cut.shifts(log_odds[a:b], USUAL) for a, b in places]), shifts)
    assert cut.pack() == whole.pack()
    assert whole.rows == 600
    assert len(set(shifts.tolist())) > 1, "600 rows are enough to learn something"


@settings(max_examples=25)
@given(SEEDS, st.integers(0, 600))
def test_packed_and_unpacked_they_go_on_as_if_nothing_had_been(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    one = Beliefs()
    one.belong("a decider")
    one.usual(rng.random((rows, 2)), USUAL)
    one.shifts([rng.normal(0, 5, 3) for _ in range(rows)], USUAL)
    other = Beliefs.unpack(one.pack())
    assert other.pack() == one.pack()
    other.belong("a decider")
    more, pairs = rng.random((300, 2)), [rng.normal(0, 5, 3) for _ in range(300)]
    assert np.array_equal(other.usual(more, USUAL), one.usual(more, USUAL))
    assert np.array_equal(other.shifts(pairs, USUAL), one.shifts(pairs, USUAL))
    assert other.pack() == one.pack()


def test_a_copy_is_its_own() -> None:
    one = Beliefs()
    one.usual(np.ones((300, 2)), USUAL)
    one.shifts([np.array([5.0, 6.0])] * 300, USUAL)
    before = one.pack()
    copy = one.copy()
    assert copy.pack() == before
    copy.usual(np.zeros((300, 2)), USUAL)
    copy.shifts([np.array([-5.0])] * 300, USUAL)
    copy.belong("another")
    assert one.pack() == before
    assert copy.pack() != before


def test_what_another_decider_taught_counts_for_nothing_but_the_count_of_rows() -> None:
    taught, fresh = Beliefs(), Beliefs()
    taught.belong("one with two terms")
    taught.usual(np.ones((300, 2)), USUAL)
    taught.shifts([np.array([9.0, 9.0])] * 256, USUAL)
    assert taught.shift > 0
    single = Expectations([0.4], 0.2, 1.0)
    for beliefs in (taught, fresh):
        beliefs.belong("one with a single term")
    counts = np.random.default_rng(5).random((20, 1))
    assert np.array_equal(taught.usual(counts, single), fresh.usual(counts, single))
    pairs = [np.array([1.0])] * 20
    assert np.array_equal(taught.shifts(pairs, single), fresh.shifts(pairs, single))
    assert taught.rows == 256 + 20, "a store takes beliefs that have seen more rows"


@settings(max_examples=15)
@given(SEEDS, st.sampled_from([0.02, 0.1, 0.3]), st.sampled_from([0.004, 0.02, 0.1, 0.3, 0.6]))
def test_the_prior_moves_towards_the_share_of_matches(seed: int, base_rate: float, rate: float) -> None:
    rng, halfway = np.random.default_rng(seed), Expectations([], base_rate, 0.5)
    beliefs = Beliefs()
    shifts = beliefs.shifts(rows_of(calibrated(20_000, rate, halfway, rng), rng), halfway)
    seen = float(beliefs.pairs.sum())
    share = (seen * rate + TRAINING_PAIRS * base_rate) / (seen + TRAINING_PAIRS)
    away = logit(share) - logit(base_rate)
    assert shifts[0] == 0, "the first rows know what training knew"
    assert beliefs.shift / halfway.damping == pytest.approx(away, abs=0.15 + abs(away) * 0.1)
    if rate != base_rate:
        assert np.sign(beliefs.shift) == np.sign(away)
        assert abs(beliefs.shift) < abs(logit(rate) - logit(base_rate)), "damped"


@settings(max_examples=40)
@given(SEEDS, st.floats(-30, 30), st.floats(0, 1), st.floats(0.001, 0.9))
def test_the_prior_has_a_limit_and_is_damped(seed: int, centre: float, damping: float, base_rate: float) -> None:
    rng, expected = np.random.default_rng(seed), Expectations([], base_rate, damping)
    beliefs = Beliefs()
    shifts = beliefs.shifts([rng.normal(centre, 3, 20) for _ in range(513)], expected)
    assert np.isfinite(shifts).all()
    assert np.abs(shifts).max() <= MOST * damping + 1e-5
    if damping == 0:
        assert not shifts.any()


def test_the_limit_is_reached_by_what_looks_like_nothing_in_training() -> None:
    for value in (-40.0, 40.0):
        expected = Expectations([], 0.02 if value > 0 else 0.98, 0.5)
        beliefs = Beliefs()
        beliefs.shifts([np.full(500, value)] * 512, expected)
        assert beliefs.shift == np.sign(value) * 0.5 * MOST


@pytest.mark.parametrize("rate", [0.001, 0.9])
def test_without_damping_nothing_is_believed(rate: float) -> None:
    rng, stubborn = np.random.default_rng(3), Expectations([], 0.1, 0.0)
    assert not Beliefs().shifts(rows_of(calibrated(5_000, rate, stubborn, rng), rng), stubborn).any()


def test_the_prior_forgets() -> None:
    """What the stream was like long ago no longer moves it."""
    rng, expected = np.random.default_rng(4), Expectations([], 0.1, 1.0)
    moved, never = Beliefs(), Beliefs()
    moved.shifts(np.split(calibrated(10_240, 0.5, expected, rng), 1_024), expected)
    high = moved.shift
    few = np.split(calibrated(40_960, 0.02, expected, rng), 4_096)
    for _ in range(9):
        for beliefs in (moved, never):
            beliefs.shifts(few, expected)
    assert high > 1
    assert moved.shift == pytest.approx(never.shift, abs=0.15)


@given(st.floats(0, 4), st.integers(1, 200))
def test_a_steady_stream_like_training_is_as_usual(value: float, rows: int) -> None:
    as_trained = Expectations([value], 0.1, 0.5)
    assert Beliefs().usual(np.full((rows, 1), value), as_trained) == pytest.approx(value, abs=1e-9)


@settings(max_examples=15)
@given(st.floats(0, 4), st.floats(0, 4))
def test_what_is_usual_is_learned(usual: float, seen: float) -> None:
    relative = seen - Beliefs().usual(np.full((12_000, 1), seen), Expectations([usual], 0.1, 0.5))[:, 0]
    assert relative[0] == pytest.approx((seen - usual) * 50 / 51, abs=2e-3 * (1 + usual))
    assert relative[-1] == pytest.approx(0, abs=1e-3)
    assert (np.diff(np.abs(relative)) <= 1e-12).all(), "ever less surprising"


def test_a_row_more_crowded_than_usual_stands_out() -> None:
    beliefs, rng = Beliefs(), np.random.default_rng(6)
    counts = np.log1p(rng.poisson(2.0, size=(5_000, 2)).astype(np.float64))
    relative = (counts - beliefs.usual(counts, USUAL))[2_000:]
    assert relative.mean(axis=0) == pytest.approx([0, 0], abs=0.05)
    row = np.log1p([[20.0, 0.0]])
    hub = (row - beliefs.usual(row, USUAL))[0]
    assert hub[0] > 1.5
    assert hub[1] < -0.8
