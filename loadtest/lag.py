"""How far behind the service is, asked of the broker: what its groups have committed beside what there is to read."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from consumer.adapters.kafka_commits import KafkaCommits
from consumer.adapters.kafka_groups import is_active
from consumer.adapters.kafka_reader import KafkaReader
from consumer.errors import DedupError, SettingsError
from consumer.names import encoders_group, matchers_group
from consumer.profile import Profile
from consumer.settings import Settings

_EVERY_SECONDS = 0.5
_TOLD_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Messages that wait, at a moment of the wall clock."""

    at_ns: int
    encode: int
    match: int

    @property
    def total(self) -> int:
        return self.encode + self.match


class LagWatch:
    """Asks again and again, in a thread of its own. Raises SettingsError when no service is there to be watched."""

    def __init__(self, settings: Settings, profile: Profile) -> None:
        self._watched = [
            (encoders_group(settings, profile), profile.input),
            (matchers_group(settings, profile), profile.vectors_topic),
        ]
        for name, topic in self._watched:
            if not is_active(settings.kafka.client_properties, name):
                raise SettingsError(
                    f"group {name} has no member: nobody reads {topic}. Start `dedup run` with the same settings first"
                )
        self._stack = ExitStack()
        properties = settings.kafka.consumer_properties
        self._commits = [self._stack.enter_context(KafkaCommits(properties, name)) for name, _ in self._watched]
        self._reader = KafkaReader(properties)
        self._stack.callback(self._reader.close)
        self._halt = threading.Event()
        self._asking = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="lag", daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt.set()
        self._thread.join()
        self._stack.close()

    def now(self) -> Sample:
        """Ask the broker. Raises BrokerError."""
        with self._asking:
            at_ns = time.time_ns()
            encode, match = (
                self._behind(commits, topic) for commits, (_, topic) in zip(self._commits, self._watched, strict=True)
            )
        return Sample(at_ns, encode, match)

    def drained(self, seconds: float, meanwhile: Callable[[Sample], None]) -> bool:
        """Wait until nothing waits any more; False when that took longer. `meanwhile` is called now and then."""
        told = started = time.monotonic()
        while (sample := self.now()).total:
            now = time.monotonic()
            if now > started + seconds:
                return False
            if now > told + _TOLD_EVERY_SECONDS:
                meanwhile(sample)
                told = now
            time.sleep(0.1)
        return True

    def _behind(self, commits: KafkaCommits, topic: str) -> int:
        done = commits.of(topic)
        ends = self._reader.ends(topic)
        return sum(max(0, high - max(low, done[n].offset if n in done else 0)) for n, (low, high) in ends.items())

    def _watch(self) -> None:
        while not self._halt.wait(_EVERY_SECONDS):
            try:
                self.samples.append(self.now())
            except DedupError:
                continue  # a broker that is away for a moment leaves a gap in a drawing


def growth(samples: Sequence[Sample], start_ns: int, end_ns: int) -> float:
    """Messages a second by which the lag grew between two moments; negative where it shrank."""
    within = [sample for sample in samples if start_ns <= sample.at_ns <= end_ns]
    if len(within) < 2:
        return 0.0
    seconds = (within[-1].at_ns - within[0].at_ns) / 1e9
    return (within[-1].total - within[0].total) / seconds
