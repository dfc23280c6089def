"""Loops in tests: a stage that does as it is told, and a bench with a broker in memory that may be away."""

import threading
import time
from collections.abc import Callable, Sequence

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.delivery import AtLeastOnce
from consumer.errors import BrokerAwayError
from consumer.loop import Limits, Loop, Result, last_positions
from consumer.records import Message, Outgoing, Rejected
from tests.deliveries import AtLast
from tests.factories import NOW_MS

TOPIC, OUT, LETTERS = "persons", "out", "persons.dlq"
LIMITS = Limits(batch_records=10, poll_seconds=0.0, consecutive_rejects=5)


class Echo:
    """Sends every message on; rejects those that say so. `faults` are raised, one a call, before anything else."""

    name = "echo"

    def __init__(self, faults: Sequence[Exception] = (), late_faults: Sequence[Exception] = ()) -> None:
        self.faults = list(faults)
        self.late_faults = list(late_faults)
        self.batches: list[list[bytes | None]] = []
        self.deliveries = 0
        self.lost = 0
        self.alone = False
        self.made = Result([])
        self.is_ready = True
        self.on_delivered: Callable[[], None] = lambda: None
        self.on_confirm: Callable[[], None] = lambda: None

    def room(self, limit: int) -> int:
        return limit

    def process(self, messages: Sequence[Message]) -> None:
        self.batches.append([m.value for m in messages])
        if self.faults:
            raise self.faults.pop(0)
        rejected = [Rejected(m, self.name, "said so") for m in messages if m.value == b"bad"]
        sent = [Outgoing(OUT, m.key, m.value) for m in messages if m.value != b"bad"]
        self.made = Result(sent, rejected, last_positions(messages), alone=self.alone)

    def result(self) -> Result:
        return self.made

    def confirm(self) -> None:
        self.on_confirm()

    def delivered(self) -> None:
        if self.late_faults:
            raise self.late_faults.pop(0)
        self.deliveries += 1
        self.on_delivered()

    def undelivered(self) -> None:
        self.lost += 1

    def ready(self) -> bool:
        return self.is_ready


class Faltering(MemoryPublisher):
    """Is away so many times, once it has the messages."""

    away = 0

    def flush(self) -> None:
        if self.away:
            self.away -= 1
            raise BrokerAwayError("the broker is away")


class Bench:
    """A broker with a loop over it."""

    def __init__(self, stage: Echo, limits: Limits = LIMITS, late: bool = False) -> None:
        self.broker = MemoryBroker({TOPIC: 2, OUT: 1, LETTERS: 1})
        self.stop = threading.Event()
        self.source = MemorySource(self.broker, "group", [TOPIC])
        self.publisher = Faltering(self.broker)
        delivery = AtLeastOnce(self.source, self.publisher)
        self.loop = Loop(self.source, stage, AtLast(delivery) if late else delivery, limits, self.stop)

    def send(self, *values: bytes, partition: int = 0) -> None:
        self.publisher.publish([Outgoing(TOPIC, b"k", value, {}, partition, NOW_MS) for value in values])

    def values(self, topic: str) -> list[bytes | None]:
        return [m.value for m in self.broker.messages(topic)]

    @property
    def committed(self) -> dict[tuple[str, int], int]:
        return self.broker.group("group").committed


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
