"""When each message is meant to leave: fixed before the first one does, whatever the service does meanwhile.

Latency counts from these moments and not from when a message did leave. A generator that waits for an answer, or stands
still, would else leave out the very moments that hurt: coordinated omission (Gil Tene, "How NOT to measure latency"; the
OpenMessaging Benchmark counts the same way).
"""

from collections.abc import Sequence

import numpy as np

from consumer.records import Doubles
from loadtest.workload import Arrivals, Phase


def intended_seconds(phases: Sequence[Phase], arrivals: Arrivals, seed: int) -> Doubles:
    """Moments since the start, in order: rate times seconds of them in each phase.

    `poisson`: those of a Poisson process that has exactly so many in the phase, which are uniform draws in order.
    """
    rng = np.random.default_rng(seed)
    moments, start = [], 0.0
    for phase in phases:
        count = round(phase.rate * phase.seconds)
        within = np.arange(count) / phase.rate
        if arrivals == "poisson":
            within = np.sort(rng.uniform(0, phase.seconds, count))
        moments.append(start + within)
        start += phase.seconds
    return np.concatenate(moments)


def length_seconds(phases: Sequence[Phase]) -> float:
    return sum(phase.seconds for phase in phases)
