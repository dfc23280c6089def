"""Laws of the behaviour encoder."""

from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.behaviour_encoder import BehaviourEncoder
from consumer.errors import SettingsError

ENCODER = BehaviourEncoder("login_times")
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timedelta(minutes=minutes))
TIMES = st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat)
LOGINS = st.lists(TIMES, max_size=30)


def habit(seed: int, hour: float, days: int, spread: float = 1.0) -> list[str]:
    """One login a day or so, about `hour`."""
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat("2024-03-01")
    hours = hour + spread * rng.standard_normal(days)
    return [(start + timedelta(days=day, hours=float(at))).isoformat() for day, at in enumerate(hours)]


def cosine(a: list[str], b: list[str]) -> float:
    rows = ENCODER.encode([{"login_times": a}, {"login_times": b}]).vectors
    return float(rows[0] @ rows[1])


@given(st.lists(LOGINS, max_size=8))
def test_batched_rows_are_bit_equal_to_single_ones(batch: list[list[str]]) -> None:
    made = ENCODER.encode([{"login_times": logins} for logins in batch])
    for i, logins in enumerate(batch):
        single = ENCODER.encode([{"login_times": logins}])
        assert np.array_equal(made.vectors[i], single.vectors[0])
        assert bool(made.present[i]) == bool(logins)


@given(LOGINS)
def test_rows_are_unit_where_present(logins: list[str]) -> None:
    made = ENCODER.encode([{"login_times": logins}])
    norm = float(np.linalg.norm(made.vectors[0]))
    assert np.isfinite(made.vectors).all()
    assert norm == pytest.approx(1.0, abs=1e-5) if logins else norm == 0.0


@given(LOGINS, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(logins: list[str], random: Random) -> None:
    shuffled = random.sample(logins, len(logins))
    rows = ENCODER.encode([{"login_times": logins}, {"login_times": shuffled + logins[:3]}]).vectors
    assert np.array_equal(rows[0], rows[1])


def test_the_hour_is_that_of_the_records_own_clock() -> None:
    at_nine = [f"2024-05-{day:02}T09:00:00" for day in range(1, 29)]
    in_tokyo = [f"{time}+09:00" for time in at_nine]
    same_moment_in_utc = [datetime.fromisoformat(time).astimezone(UTC).isoformat() for time in in_tokyo]
    assert cosine(at_nine, in_tokyo) > cosine(in_tokyo, same_moment_in_utc) + 0.3


def test_the_same_habit_is_closer_than_another() -> None:
    morning, again, night = habit(1, 8, 60), habit(2, 8, 60), habit(3, 23, 60)
    assert cosine(morning, again) > 0.7
    assert cosine(morning, again) > cosine(morning, night) + 0.3


def test_strangers_are_about_zero_on_average() -> None:
    rng = np.random.default_rng(4)
    rows = []
    for _ in range(80):
        # A population with a pause at night, each person with an own time of day and rate.
        hours = 16.5 + 4 * rng.standard_normal() + 5 * rng.standard_normal(int(rng.integers(3, 25)))
        days = np.cumsum(rng.exponential(10 ** rng.uniform(-1, 1), len(hours)))
        times = [
            datetime.fromisoformat("2024-01-01") + timedelta(days=int(d), hours=float(h))
            for d, h in zip(days, hours, strict=True)
        ]
        rows.append({"login_times": [time.isoformat() for time in times]})
    vectors = ENCODER.encode(rows).vectors
    assert abs(float((vectors @ vectors.T)[np.triu_indices(80, 1)].mean())) < 0.2


def test_few_logins_say_little() -> None:
    one, other = ["2024-05-01T09:00:00"], ["2024-05-08T09:05:00"]
    assert cosine(one, other) < 0.6 < cosine(habit(5, 9, 200), habit(6, 9, 200))
    assert cosine(one, one) == pytest.approx(1.0)


def test_thousands_of_logins_and_none() -> None:
    many = habit(7, 12, 20_000)
    assert ENCODER.encode([{"login_times": many}]).present[0]
    assert not ENCODER.encode([{}, {"login_times": []}, {"login_times": "2024-05-01"}]).present.any()


def test_the_fingerprint_names_the_field() -> None:
    assert ENCODER.fingerprint == BehaviourEncoder("login_times").fingerprint
    assert ENCODER.fingerprint != BehaviourEncoder("visits").fingerprint
    assert ENCODER.encode([]).vectors.shape == (0, ENCODER.dim)
    with pytest.raises(SettingsError, match="field"):
        BehaviourEncoder("")
