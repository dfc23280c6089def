"""What a reader makes of events: whose they are, when they came, and what is missing."""

from typing import Any

import orjson
from confluent_kafka import Message

from loadtest.reader import EventNotes, RecordNotes

RUN = "load-1"
AT_MS = 1_760_000_000_000


def event(cluster: str, version: int, added: list[str], removed: list[str] | None = None, **more: Any) -> Message:
    data = {"cluster_id": cluster, "version": version, "added": added, "removed": removed or [], **more}
    value = orjson.dumps({"data": data, "ingestedtime": "2025-10-09T08:53:20.000Z"})
    return Message(topic="events", partition=0, offset=version, key=b"c", value=value, timestamp=(1, AT_MS))


def take(*messages: Message) -> EventNotes:
    notes = EventNotes(RUN)
    for message in messages:
        notes.take(message, (AT_MS + 40) * 1_000_000)
    return notes


def test_latency_counts_from_the_moment_that_the_event_carries() -> None:
    notes = take(event("c", 1, ["load-1-a", "load-1-b"]))
    arrivals = notes.arrivals.take()
    assert (arrivals.intended_ms.tolist(), arrivals.latency_us.tolist()) == ([AT_MS], [40_000])
    assert not len(notes.arrivals.take().latency_us)


def test_events_of_others_pass_by() -> None:
    assert take(event("c", 7, ["somebody"])).told().events == 0


def test_a_missing_version_is_a_gap_and_one_that_comes_again_a_repeat() -> None:
    first = event("c", 1, ["load-1-a", "load-1-b"])
    told = take(first, event("c", 3, ["load-1-c"]), first).told()
    assert (told.events, told.gaps, told.repeats) == (3, 1, 1)
    assert set(told.assignments) == {"load-1-a", "load-1-b", "load-1-c"}


def test_a_cluster_of_earlier_records_may_begin_midway_and_one_of_ours_may_not() -> None:
    assert take(event("c", 5, ["load-1-a"], members=["old-1", "load-1-a"])).told().gaps == 0
    assert take(event("c", 5, ["load-1-a"], members=["load-1-b", "load-1-a"])).told().gaps == 1


def test_vectors_of_others_and_erasures_pass_by() -> None:
    notes = RecordNotes(RUN)
    for key, value in ((b"load-1-a", b"v"), (b"other", b"v"), (b"load-1-b", None)):
        notes.take(Message(topic="v", partition=0, offset=0, key=key, value=value, timestamp=(1, AT_MS)), AT_MS * 10**6)
    assert notes.told() == 1
