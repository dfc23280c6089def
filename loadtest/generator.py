"""A process that sends: each message at its intended moment, whatever became of those before it.

Messages are written ahead, while there is nothing to send, so that the sending loop only sends. The intended moment
travels as the message's timestamp, through every stage and into the events, so latency can be read wherever they arrive.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as KafkaMessage

from consumer.adapters.kafka_publisher import DEFAULTS
from consumer.profile import Profile
from consumer.records import Doubles
from loadtest.author import KINDS, Author, Sending
from loadtest.workload import Workload

_AHEAD = 5_000
_SPARE_NS = 2_000_000
"""Time until the next message that is enough to write another one ahead."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a generator is told at its start."""

    run: str
    number: int
    seed: int
    workload: Workload
    profile: Profile
    properties: Mapping[str, str]
    """librdkafka's, of a producer."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a generator has sent in one go, by message. Positions are those of the moments it was given."""

    kinds: npt.NDArray[np.uint8]
    """Places in `KINDS`."""
    records: npt.NDArray[np.int32]
    entities: npt.NDArray[np.int32]
    late_seconds: npt.NDArray[np.float32]
    """From the intended moment until the client took the message."""
    failed: int
    """Messages that the broker did not take."""


def generate(pipe: Connection, assignment: Assignment) -> None:
    """The process: answers `n` with True once messages are ahead, and (start_ns, moments) with Sent; None ends it."""
    generator = _Generator(assignment)
    while (order := pipe.recv()) is not None:
        if isinstance(order, int):
            generator.write_ahead(order)
            pipe.send(True)
        else:
            pipe.send(generator.send(*order))


class _Generator:
    def __init__(self, assignment: Assignment) -> None:
        self._author = Author(
            assignment.run, assignment.number, assignment.seed, assignment.workload, assignment.profile
        )
        self._topic = assignment.profile.input
        self._ahead: deque[Sending] = deque()
        self._failed = 0
        self._producer = Producer(
            {**DEFAULTS, "linger.ms": 1, **assignment.properties, "delivery.report.only.error": True}
        )

    def write_ahead(self, count: int) -> None:
        while len(self._ahead) < min(count, _AHEAD):
            self._ahead.append(next(self._author))

    def send(self, start_ns: int, moments: Doubles) -> Sent:
        """Send one message at each moment, seconds after `start_ns` of the wall clock."""
        count = len(moments)
        kinds, late = np.zeros(count, np.uint8), np.zeros(count, np.float32)
        records, entities = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self._failed = 0
        for i, seconds in enumerate(moments.tolist()):
            due_ns = start_ns + int(seconds * 1e9)
            self._wait(due_ns)
            sending = self._ahead.popleft() if self._ahead else next(self._author)
            self._produce(sending, due_ns // 1_000_000)
            late[i] = (time.time_ns() - due_ns) / 1e9
            kinds[i], records[i], entities[i] = KINDS.index(sending.kind), sending.record, sending.entity
        self._producer.flush()
        return Sent(kinds, records, entities, late, self._failed)

    def _wait(self, due_ns: int) -> None:
        while (left_ns := due_ns - time.time_ns()) > 0:
            self._producer.poll(0)
            if left_ns > _SPARE_NS and len(self._ahead) < _AHEAD:
                self._ahead.append(next(self._author))
            else:
                time.sleep(min(left_ns, 50_000_000) / 1e9)

    def _produce(self, sending: Sending, timestamp_ms: int) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    sending.value,
                    sending.key,
                    timestamp=timestamp_ms,
                    on_delivery=self._note,
                )
            except BufferError:
                self._producer.poll(0.01)  # the client holds as much as it may: the wait counts as lateness
            else:
                return

    def _note(self, error: KafkaError | None, _: KafkaMessage) -> None:
        self._failed += error is not None
