"""Runs in a pod, on the service's own image: signups at a pace while others break things, then what became of them.

`python driver.py run PER_SECOND` sends until a mark says `end`, waits until all of it is decided and told, lets a matcher
that nobody touches decide the same `vectors` under names of its own, and prints one JSON object. `python driver.py mark
NAME` says, from beside it, that something else begins now, and `python driver.py burst COUNT` sends more, all at once.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from consumer.evaluation import EventView, overlap
from consumer.profile import load_profile
from consumer.simulate import Signup, signups

MARKS = Path("/tmp/marks")
END = "end"
_SEED, _RECORDS, _DUPLICATES = 11, 200_000, 0.3
_PATIENCE_SECONDS = 300.0
_QUIET_SECONDS = 5.0
_SERVERS = os.environ.get("DEDUP_KAFKA__BOOTSTRAP_SERVERS", "")
_GROUP, _CALM = "dedup", "calm"
_PROFILE = load_profile("signup")


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the input. `value` None erases."""

    id: str
    person: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a subscriber of committed messages read it, and when (Unix seconds)."""

    id: str
    value: bytes
    seen: float


def stream() -> Iterator[Sent]:
    """Signups, three in ten of people who came before; now and then an update or an erasure of one sent shortly before."""
    recent: list[Signup] = []
    for number, signup in enumerate(signups(_RECORDS, _SEED, _DUPLICATES)):
        recent = [*recent[-49:], signup]
        yield Sent(signup.id, signup.person, json.dumps(signup.value).encode())
        if number % 20 == 19:
            before = recent[-20]
            yield Sent(before.id, before.person, json.dumps({**before.value, "city": "Utrecht"}).encode())
        if number % 25 == 24:
            yield Sent(recent[0].id, recent[0].person, None)


class Reader(threading.Thread):
    """Reads every event from the first on, committed ones only."""

    def __init__(self, topic: str) -> None:
        super().__init__(name=topic, daemon=True)
        self.events: list[Event] = []
        self._topic = topic
        self._ended = threading.Event()

    def run(self) -> None:
        client = _consumer(f"reader-of-{self._topic}")
        client.assign([TopicPartition(self._topic, p, 0) for p in _partitions(client, self._topic)])
        while not self._ended.is_set():
            for message in client.consume(500, 0.1):
                value = message.value()
                if message.error() is None and value is not None:
                    self.events.append(Event(json.loads(value)["id"], value, time.time()))
        client.close()

    def close(self) -> None:
        """Once nothing new came for a while."""
        last = -1
        while last != len(self.events):
            last = len(self.events)
            time.sleep(_QUIET_SECONDS)
        self._ended.set()
        self.join()


def send(per_second: float) -> tuple[dict[str, float], dict[str, int]]:
    """Until the mark `end`: when each record was to be sent that was sent once, and whose each is that is not erased."""
    # idempotent: a broker that dies while it answers neither doubles a message nor turns two around
    producer = Producer(
        {"bootstrap.servers": _SERVERS, "enable.idempotence": True, "linger.ms": 5, "partitioner": "murmur2_random"}
    )
    began = time.time()
    due: dict[str, float] = {}
    people: dict[str, int] = {}
    for number, sent in enumerate(stream()):
        intended = began + number / per_second
        time.sleep(max(0.0, intended - time.time()))
        producer.produce(_PROFILE.input, sent.value, sent.id)
        producer.poll(0)
        if sent.id in people or sent.value is None:
            due.pop(sent.id, None)
        else:
            due[sent.id] = intended
        people[sent.id] = sent.person
        if sent.value is None:
            del people[sent.id]
        if any(name == END for _, name in marks()):
            break
    if producer.flush(_PATIENCE_SECONDS):
        raise SystemExit("the brokers did not take everything")
    return due, people


def burst(count: int) -> None:
    """So many other signups at once, for whoever scales by what waits."""
    producer = Producer({"bootstrap.servers": _SERVERS, "partitioner": "murmur2_random"})
    for signup in signups(count, _SEED + 1, duplicate_share=0.1):
        producer.produce(_PROFILE.input, json.dumps(signup.value), f"burst-{signup.id}")
        producer.poll(0)
    producer.flush(_PATIENCE_SECONDS)


def mark(name: str) -> None:
    with MARKS.open("a") as file:
        file.write(f"{time.time()} {name}\n")


def marks() -> list[tuple[float, str]]:
    if not MARKS.exists():
        return []
    lines = [line.split(" ", 1) for line in MARKS.read_text().splitlines()]
    return [(float(at), name) for at, name in lines]


def settle(group: str) -> None:
    """Return once all of the input is encoded and all of `vectors` decided by the matchers of this group."""
    deadline = time.time() + _PATIENCE_SECONDS
    while not (
        _through(f"{_GROUP}.{_PROFILE.name}.encode", _PROFILE.input)
        and _through(f"{group}.{_PROFILE.name}.match", _PROFILE.vectors_topic)
    ):
        if time.time() > deadline:
            raise SystemExit(f"not through within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.5)


def undisturbed() -> list[Event]:
    """What a matcher makes of `vectors` that nobody touches."""
    names = {
        "DEDUP_KAFKA__GROUP": _CALM,
        "DEDUP_REDIS__PREFIX": _CALM,
        "DEDUP_TOPICS__EVENTS": f"{_CALM}-events",
        "DEDUP_TOPICS__CLUSTERS": f"{_CALM}-clusters",
        "DEDUP_TOPICS__POSSIBLE": f"{_CALM}-possible",
        "DEDUP_STATE__DIRECTORY": "/tmp/calm",
    }
    environment = {**os.environ, **names}
    subprocess.run([sys.executable, "-m", "consumer", "topics", "create"], env=environment, check=True, stdout=2)
    matcher = subprocess.Popen([sys.executable, "-m", "consumer", "run", "--role", "match"], env=environment)
    reader = Reader(f"{_CALM}-events")
    reader.start()
    settle(_CALM)
    reader.close()
    matcher.terminate()
    matcher.wait()
    return reader.events


def judged(
    events: list[Event], calm: list[Event], due: Mapping[str, float], people: Mapping[str, int]
) -> dict[str, Any]:
    """What a subscriber saw, beside what it would have seen had nobody touched anything."""
    ours = {event.id: event.value for event in events}
    theirs = {event.id: event.value for event in calm}
    view = _view(events)
    return {
        "records": len(people),
        "events": len(events),
        "doubled": sorted(event for event, times in Counter(e.id for e in events).items() if times > 1),
        "lost": sorted(theirs.keys() - ours.keys()),
        "unexpected": sorted(ours.keys() - theirs.keys()),
        "different": sorted(event for event in ours.keys() & theirs.keys() if ours[event] != theirs[event]),
        "gaps": view.gaps,
        "same_clusters": view.clusters == _view(calm).clusters,
        "f1": overlap(people, view.assignments).pairwise().f1,
        "windows": list(windows(events, due)),
    }


def windows(events: list[Event], due: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """From each mark to the next: how long an event came after its youngest new record was to be sent."""
    asked = [(at, event.seen - at) for event in events if (at := _asked(event, due)) is not None]
    for (begin, name), (end, _) in itertools.pairwise(marks()):
        waits = sorted(wait for at, wait in asked if begin <= at < end)
        yield {
            "name": name,
            "seconds": round(end - begin, 1),
            "events": len(waits),
            "median_wait_seconds": round(waits[len(waits) // 2], 3) if waits else None,
            "longest_wait_seconds": round(waits[-1], 2) if waits else None,
        }


def _asked(event: Event, due: Mapping[str, float]) -> float | None:
    """When the record that the event waited for was to be sent; None where one was sent more than once, or none came."""
    data = json.loads(event.value)["data"]
    if data["kind"] not in {"created", "joined"} or not all(record in due for record in data["added"]):
        return None
    return max((due[record] for record in data["added"]), default=None)


def _view(events: list[Event]) -> EventView:
    view = EventView()
    for event in events:
        view.apply(json.loads(event.value))
    return view


def _through(group: str, topic: str) -> bool:
    """Whether the group has committed behind the last message of each partition; markers of transactions are none."""
    asker = _consumer(group)
    try:
        numbers = _partitions(asker, topic)
        answers = asker.committed([TopicPartition(topic, p) for p in numbers], timeout=10)
        done = {answer.partition: answer.offset for answer in answers}
        return all(done.get(p, 0) >= end for p, end in _ends(asker, topic, numbers).items())
    except KafkaException:
        return False
    finally:
        asker.close()


def _ends(client: Consumer, topic: str, numbers: list[int]) -> dict[int, int]:
    """Behind the last message of each partition that has any."""
    client.assign([TopicPartition(topic, p, 0) for p in numbers])
    left, found = set(numbers), {}
    while left:
        for message in client.consume(1000, 0.1):
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(partition or 0)
            elif error is not None:
                raise KafkaException(error)
            else:
                found[partition or 0] = (offset or 0) + 1
    return found


def _consumer(group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": _SERVERS,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )


def _partitions(client: Consumer, topic: str) -> list[int]:
    return sorted(client.list_topics(topic, timeout=30).topics[topic].partitions)


def main() -> None:
    command, argument = sys.argv[1:]
    if command == "mark":
        mark(argument)
        return
    if command == "burst":
        burst(int(argument))
        return
    reader = Reader("duplicate-events")
    reader.start()
    due, people = send(float(argument))
    settle(_GROUP)
    reader.close()
    print(json.dumps(judged(reader.events, undisturbed(), due, people)), flush=True)


if __name__ == "__main__":
    main()
