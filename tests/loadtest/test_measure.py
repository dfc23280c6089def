"""From arrivals to figures: what is cut, when a rate is too much, and when a run does not count."""

from dataclasses import replace

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadtest.generator import Sent
from loadtest.lag import Sample, growth
from loadtest.latency import measured
from loadtest.measure import step_of
from loadtest.outcome import Step
from loadtest.reader import Arrivals
from loadtest.run import operating_point
from loadtest.schedule import intended_seconds
from loadtest.workload import Operating, Phase, Sweep

START_MS = 1_760_000_000_000
START_NS = START_MS * 1_000_000
PHASES = [Phase(rate=100, seconds=20)]


def sent(count: int, late_seconds: float = 0.0001, failed: int = 0) -> Sent:
    zeros = np.zeros(count, np.int32)
    return Sent(zeros.astype(np.uint8), zeros, zeros, np.full(count, late_seconds, np.float32), failed)


def step(latency_us: object = 10_000, lag_per_second: float = 0, generator: Sent | None = None) -> Step:
    """Twenty seconds at 100/s, five of them warm-up; every message makes an event."""
    moments = intended_seconds(PHASES, "constant", 0)
    intended_ms = (START_MS + moments * 1000).astype(np.int64)
    arrived = Arrivals(intended_ms, np.broadcast_to(np.asarray(latency_us, np.int64), intended_ms.shape))
    samples = [Sample(START_NS + n * 500_000_000, 0, int(lag_per_second * n / 2)) for n in range(41)]
    return step_of(
        PHASES,
        5,
        moments,
        START_NS,
        [generator or sent(len(moments))],
        {"events": arrived, "vectors": arrived},
        samples,
        START_NS + 21 * 10**9,
    )


def test_a_calm_step() -> None:
    found = step()
    assert (found.sent, found.intended_rate, found.achieved_rate) == (2000, 100, 100)
    assert found.events.count == 1500
    assert found.events.p99_ms == pytest.approx(10, rel=0.01)
    assert (found.saturated, list(found.faults)) == ("", [])
    assert found.drained_seconds == 1


def test_the_warm_up_is_cut() -> None:
    slow_at_first = np.where(np.arange(2000) < 500, 9_000_000, 1_000)
    assert step(slow_at_first).events.max_ms == pytest.approx(1, rel=0.01)


def test_a_growing_lag_is_what_was_not_achieved() -> None:
    found = step(lag_per_second=20)
    assert found.achieved_rate == pytest.approx(80)
    assert "80 of 100 a second" in found.saturated


def test_a_latency_that_runs_away_is_too_much() -> None:
    assert "p99 went from" in step(np.arange(2000) * 2_000).saturated


def test_the_operating_point_is_a_share_of_the_highest_rate_that_was_kept_up() -> None:
    sweep = Sweep(start=50, factor=2, steps=3, seconds=20, operating=Operating(share=0.7, seconds=90))
    slow, kept_up, too_much = replace(step(), intended_rate=50.0), step(), step(lag_per_second=20)
    assert operating_point(sweep, [slow, kept_up, too_much]) == Phase(rate=70, seconds=90)
    assert operating_point(sweep, [too_much]) is None
    assert operating_point(sweep, [kept_up, replace(too_much, drained_seconds=None)]) is None, "it still is busy"
    assert operating_point(sweep.model_copy(update={"operating": None}), [kept_up]) is None
    assert operating_point(None, [kept_up]) is None


def test_a_generator_that_is_late_makes_the_run_invalid() -> None:
    assert "INVALID: the generator itself was late" in step(generator=sent(2000, late_seconds=0.05)).faults[0]


def test_messages_that_the_broker_did_not_take_make_the_run_invalid() -> None:
    assert step(generator=sent(2000, failed=3)).faults == ["INVALID: the broker did not take 3 messages"]


def test_the_series_counts_what_was_meant_and_what_was_decided() -> None:
    series = step(lag_per_second=20).series
    assert series.intended[:20] == [100] * 20
    assert series.achieved[1:19] == pytest.approx([80] * 18, abs=1)
    assert series.lag[9] == pytest.approx(200, abs=10)


@given(st.lists(st.integers(1, 3_600_000_000), min_size=1, max_size=300))
def test_percentiles_are_right_to_three_digits(values: list[int]) -> None:
    found = measured(np.array(values, np.int64))
    ordered = sorted(values)
    for share, shown in ((0.5, found.p50_ms), (0.99, found.p99_ms), (1.0, found.max_ms)):
        exact = ordered[max(0, int(np.ceil(share * len(ordered))) - 1)]
        assert 1000 * shown == pytest.approx(exact, rel=2e-3, abs=1)


def test_the_histogram_can_be_read_again() -> None:
    found = measured(np.array([1_000, 2_000, 500_000], np.int64))
    again = HdrHistogram.decode(found.histogram)
    assert again.get_total_count() == 3
    assert again.get_max_value() == pytest.approx(500_000, rel=2e-3)


def test_nothing_measured_is_zero_and_a_fault() -> None:
    assert measured(np.array([], np.int64)).p99_ms == 0
    moments = intended_seconds(PHASES, "constant", 0)
    nothing = Arrivals(np.array([], np.int64), np.array([], np.int64))
    found = step_of(
        PHASES, 5, moments, START_NS, [sent(2000)], {"events": nothing, "vectors": nothing}, [], START_NS + 20 * 10**9
    )
    assert list(found.faults) == ["no event came: nothing was measured"]


def test_growth_needs_two_samples() -> None:
    assert growth([Sample(5, 1, 1)], 0, 10) == 0
