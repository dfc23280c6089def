"""What the service says of itself: Prometheus' text from its `/metrics`, before and after."""

import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from consumer.errors import SettingsError

Key = tuple[str, tuple[tuple[str, str], ...]]
_EVERY_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
_MEMORY = "process_resident_memory_bytes"
_RECORDS = "dedup_index_records"


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step took, summed over the processes that were asked."""

    stage: str
    step: str
    seconds: float
    milliseconds_per_record: float


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes and vectors in the indexes, summed over the processes that were asked."""

    at_ns: int
    resident_bytes: float
    index_records: float


class Scrape:
    """Asks some addresses again and again. Raises SettingsError when one does not answer at the start.

    The service counts its resident memory on Linux only; elsewhere it is 0.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="scrape", daemon=True)
        self._before = self._sums()
        self.memory: list[MemorySample] = []

    def __enter__(self) -> Self:
        if self._addresses:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt.set()
        if self._addresses:
            self._thread.join()

    def begin(self) -> None:
        """Costs count from here."""
        self._before = self._sums()

    def costs(self) -> list[StepCost]:
        """Since `begin`, the most expensive first. Waiting for input (`poll`) is left out."""
        return step_costs(self._before, self._sums())

    def _watch(self) -> None:
        while not self._halt.wait(_EVERY_SECONDS):
            try:
                sums = self._sums()
            except SettingsError:
                continue
            records = sum(value for (name, _), value in sums.items() if name == _RECORDS)
            self.memory.append(MemorySample(time.time_ns(), sums.get((_MEMORY, ()), 0.0), records))

    def _sums(self) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for address in self._addresses:
            try:
                with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
                    text = answer.read().decode()
                samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"--metrics {address}: no metrics there ({error}); give the address of `dedup run`, "
                    "such as http://host:9464/metrics"
                ) from error
            for sample in samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                found[key] = found.get(key, 0.0) + sample.value
        return found


def step_costs(before: Mapping[Key, float], after: Mapping[Key, float]) -> list[StepCost]:
    """The differences of `dedup_step_seconds` between two scrapes."""
    costs = []
    for key, value in after.items():
        name, labels = key
        of = dict(labels)
        if name != "dedup_step_seconds_sum" or of["step"] == "poll":
            continue
        counted: Key = ("dedup_records_total", (("stage", of["stage"]),))
        records = after.get(counted, 0.0) - before.get(counted, 0.0)
        seconds = value - before.get(key, 0.0)
        per_record = 1000 * seconds / records if records else 0.0
        costs.append(StepCost(of["stage"], of["step"], round(seconds, 3), round(per_record, 4)))
    return sorted(costs, key=lambda cost: -cost.seconds)
