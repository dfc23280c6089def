"""What parts cost, by the clock on the wall and in time of this process on a processor.

The first is what counts. The second leaves out what other processes did meanwhile, and also what was waited for: on a machine
with much else to do it is the one to compare.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")
BATCH = 256
"""As `limits.batch_records`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a record."""

    wall: float
    processor: float


class Stopwatch:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """By the wall, and on a processor, all threads together."""
        return time.perf_counter() - self._wall, time.process_time() - self._processor

    def cost(self, records: int) -> Cost:
        wall, processor = self.seconds()
        return Cost(1e6 * wall / records, 1e6 * processor / records)


class Clock:
    """Sums what parts take, by name."""

    def __init__(self) -> None:
        self._seconds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        watch = Stopwatch()
        yield
        wall, processor = watch.seconds()
        before = self._seconds.get(name, (0.0, 0.0))
        self._seconds[name] = before[0] + wall, before[1] + processor

    def costs(self, records: int) -> dict[str, Cost]:
        return {
            name: Cost(1e6 * wall / records, 1e6 * processor / records)
            for name, (wall, processor) in self._seconds.items()
        }


def median(costs: Sequence[Cost]) -> Cost:
    """Of rounds."""
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.processor for c in costs))


def medians(rounds: Sequence[Mapping[str, Cost]]) -> dict[str, Cost]:
    """Of each part over rounds."""
    return {name: median([parts[name] for parts in rounds]) for name in rounds[0]}


def total(parts: Mapping[str, Cost]) -> Cost:
    return Cost(sum(cost.wall for cost in parts.values()), sum(cost.processor for cost in parts.values()))


def batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
