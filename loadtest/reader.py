"""Processes that read, as any subscriber would, and note when what was sent arrived.

Latency to the *event* exists for a record that makes one: a duplicate, or what changes a cluster. Of a new record without
a duplicate the matcher tells nothing. So the other number, for all records, is that to the *vector*, where encoding ends.
Both count from the intended moment, which is the input's timestamp: to the millisecond, rounded down there, so that a
latency is up to 1 ms too long and never too short.
"""

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition

from consumer.adapters.kafka_errors import explain, is_end, is_passing
from consumer.adapters.kafka_group import outsider
from consumer.adapters.kafka_offsets import ends
from consumer.errors import BrokerError
from consumer.evaluation import EventView

_AT_ONCE = 2_000
_TIMEOUT_SECONDS = 15.0
_STALLED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What arrived since the last time that was asked."""

    intended_ms: npt.NDArray[np.int64]
    """Of the message that caused it, since the epoch."""
    latency_us: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Told:
    """What the events of a run come to."""

    events: int
    repeats: int
    gaps: int
    assignments: Mapping[str, str]
    """Record → cluster, of the run's own records."""


class Notes(Protocol):
    """What a reader keeps of what it reads."""

    def take(self, message: KafkaMessage, arrived_ns: int) -> None: ...

    def told(self) -> Told | int:
        """The whole outcome, at the end."""

    arrivals: "_Growing"


class _Growing:
    def __init__(self) -> None:
        self._intended_ms, self._latency_us = array("q"), array("q")

    def add(self, intended_ms: int, arrived_ns: int) -> None:
        self._intended_ms.append(intended_ms)
        self._latency_us.append(max(0, arrived_ns // 1000 - intended_ms * 1000))

    def take(self) -> Arrivals:
        taken = Arrivals(np.array(self._intended_ms, np.int64), np.array(self._latency_us, np.int64))
        del self._intended_ms[:], self._latency_us[:]
        return taken


class EventNotes:
    """Events about the records of one run; those of others pass by."""

    def __init__(self, run: str) -> None:
        self._own = f"{run}-"
        self._view = EventView()
        self._joined_midway: set[str] = set()
        self._events = self._repeats = 0
        self.arrivals = _Growing()

    def take(self, message: KafkaMessage, arrived_ns: int) -> None:
        event = orjson.loads(message.value() or b"{}")
        data = event["data"]
        changed = [*data["added"], *data["removed"], *data.get("members", ())]
        if not any(record.startswith(self._own) for record in changed):
            return
        if data["version"] > 1 and not all(record.startswith(self._own) for record in changed):
            self._joined_midway.add(data["cluster_id"])  # a cluster of earlier records: its first events are not ours
        self._events += 1
        if not self._view.apply(event):
            self._repeats += 1
            return
        self.arrivals.add(_milliseconds(event["ingestedtime"]), arrived_ns)

    def told(self) -> Told:
        gaps = [gap for gap in self._view.gaps if not (": 0 →" in gap and gap.split(":")[0] in self._joined_midway)]
        own = {record: cid for record, cid in self._view.assignments.items() if record.startswith(self._own)}
        return Told(self._events, self._repeats, len(gaps), own)


class RecordNotes:
    """Messages under the keys of one run: vectors, or dead letters. Null values pass by."""

    def __init__(self, run: str) -> None:
        self._own = f"{run}-".encode()
        self._seen = 0
        self.arrivals = _Growing()

    def take(self, message: KafkaMessage, arrived_ns: int) -> None:
        if message.value() is None or not _key(message).startswith(self._own):
            return
        self._seen += 1
        self.arrivals.add(message.timestamp()[1], arrived_ns)

    def told(self) -> int:
        return self._seen


def read(pipe: Connection, properties: Mapping[str, str], topic: str, notes: Callable[[str], Notes], run: str) -> None:
    """The process: says True once it reads, answers `arrivals` and `told` when it has read all there is; None ends it."""
    tail = _Tail(properties, topic)
    kept = notes(run)
    pipe.send(True)
    while True:
        if pipe.poll():
            order = pipe.recv()
            if order is None:
                break
            _read_to_end(tail, kept)
            pipe.send(kept.arrivals.take() if order == "arrivals" else kept.told())
        _take(tail, kept)
    tail.close()


def _read_to_end(tail: "_Tail", notes: Notes) -> None:
    """Of what is there now. Raises BrokerError when nothing comes any more before that."""
    ends_now, heard = tail.ends(), time.monotonic()
    while not tail.reached(ends_now):
        if _take(tail, notes):
            heard = time.monotonic()
        elif time.monotonic() - heard > _STALLED_SECONDS:
            raise BrokerError(
                f"topic {tail.topic}: nothing came for {_STALLED_SECONDS:g} s, and it has more; is a transaction open?"
            )


def _take(tail: "_Tail", notes: Notes) -> bool:
    messages = tail.take()
    arrived_ns = time.time_ns()
    for message in messages:
        notes.take(message, arrived_ns)
    return bool(messages)


class _Tail:
    """Reads a topic from where it ends now, as a member of no group."""

    def __init__(self, properties: Mapping[str, str], topic: str) -> None:
        self._consumer = outsider(properties, "dedup-loadtest")
        self.topic = topic
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        if found.error is not None:
            raise BrokerError(explain(found.error, topic))
        self._partitions = [TopicPartition(topic, number) for number in sorted(found.partitions)]
        self._next = self.ends()
        self._consumer.assign([TopicPartition(topic, number, end) for number, end in self._next.items()])

    def ends(self) -> dict[int, int]:
        wanted = [(p.topic, p.partition) for p in self._partitions]
        return {number: ends(self._consumer, (topic, number), _TIMEOUT_SECONDS)[1] for topic, number in wanted}

    def reached(self, ends: Mapping[int, int]) -> bool:
        return all(self._next[number] >= end for number, end in ends.items())

    def take(self) -> Sequence[KafkaMessage]:
        """What is there; waits a moment for a first one, but not for a second: the moment of arrival is what counts."""
        first = self._consumer.poll(0.05)
        if first is None:
            return ()
        return [message for message in (first, *self._consumer.consume(_AT_ONCE, 0)) if self._counts(message)]

    def _counts(self, message: KafkaMessage) -> bool:
        error, number, offset = message.error(), message.partition(), message.offset()
        if number is None or offset is None:
            return False
        if error is None:
            self._next[number] = offset + 1
        elif is_end(error):
            self._next[number] = offset  # behind a transaction's marker too
        elif not is_passing(error):
            raise BrokerError(explain(error, message.topic()))
        return error is None

    def close(self) -> None:
        self._consumer.close()


def _key(message: KafkaMessage) -> bytes:
    return message.key() or b""


def _milliseconds(rfc3339: str) -> int:
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
