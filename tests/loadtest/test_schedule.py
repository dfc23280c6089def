"""The open loop: moments are fixed, in order, and as many as the rates say."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.schedule import intended_seconds, length_seconds
from loadtest.workload import Arrivals, Phase

PHASES = st.lists(
    st.builds(Phase, rate=st.floats(0.5, 500), seconds=st.floats(0.5, 20)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@given(phases=PHASES, seed=st.integers(0, 2**31))
def test_moments_are_in_order_within_their_phase_and_as_many_as_its_rate_says(
    arrivals: Arrivals, phases: Sequence[Phase], seed: int
) -> None:
    moments = intended_seconds(phases, arrivals, seed)
    assert (np.diff(moments) >= 0).all()
    start = taken = 0.0
    for phase in phases:
        count = round(phase.rate * phase.seconds)
        own = moments[int(taken) : int(taken) + count]
        # half a message may be rounded up, and then its moment lies behind the end
        assert len(own) == count
        assert ((own >= start) & (own <= start + phase.seconds + 0.5 / phase.rate)).all()
        start, taken = start + phase.seconds, taken + count
    assert taken == len(moments)
    assert start == pytest.approx(length_seconds(phases))


@given(phases=PHASES, seed=st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_moments(phases: Sequence[Phase], seed: int) -> None:
    first, second = (intended_seconds(phases, "poisson", seed) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_constant_rate_is_evenly_spaced() -> None:
    assert np.allclose(np.diff(intended_seconds([Phase(rate=200, seconds=5)], "constant", 0)), 1 / 200)
