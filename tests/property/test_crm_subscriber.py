"""`examples/crm_subscriber.py`: its tables are what the matcher holds, whatever the order in which events arrive."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.events import EventRenderer
from consumer.records import Cause, Cluster, ClusterChange, Position
from examples import crm_subscriber as crm
from tests.cluster_scenarios import SCOPE, Erase, Step, names, play, upserts

IDS = names(6)
BUSY_LIVES: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(upserts(IDS), upserts(IDS), upserts(IDS), st.builds(Erase, id=st.sampled_from(IDS))),
    min_size=8,  # fewer rarely move a record from one cluster to another
    max_size=25,
)
Event = Mapping[str, Any]
Pairs = set[tuple[str, str]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[Sequence[Event], Mapping[str, Cluster]]:
    """Cluster events in the order they came about, and the clusters there are in the end.

    The time of an event is arbitrary, and its member list is left out above an arbitrary size: neither may matter.
    """
    steps = draw(BUSY_LIVES)
    store = MemoryClusters()
    changes = [c for c in play(store, steps) if isinstance(c, ClusterChange)]
    times = draw(st.lists(st.integers(0, 5), min_size=len(changes), max_size=len(changes)))
    shown = draw(st.integers(0, len(IDS)))
    events = [render(change, time) for change, time in zip(changes, times, strict=True)]
    for event in events:
        if event["data"]["size"] > shown:
            del event["data"]["members"]
    return events, store.read(SCOPE, IDS, [], edges=False).clusters


@st.composite
def deliveries(draw: st.DrawFn, events: Sequence[Event]) -> list[Event]:
    """The events as a consumer may get them: several partitions, any interleaving, stretches delivered again."""
    partitions = draw(st.integers(1, 4))
    clusters = sorted({event["subject"] for event in events})
    homes = {cluster: draw(st.integers(0, partitions - 1)) for cluster in clusters}
    lines: list[list[Event]] = [[] for _ in range(partitions)]
    for event in events:
        lines[homes[event["subject"]]].append(event)
    again = [with_redeliveries(line, draw(st.lists(st.integers(0, 3), max_size=len(line)))) for line in lines]
    turns = draw(st.permutations([number for number, line in enumerate(again) for _ in line]))
    rests = [iter(line) for line in again]
    return [next(rests[turn]) for turn in turns]


def with_redeliveries(line: Sequence[Event], backs: Sequence[int]) -> list[Event]:
    """Each event, followed by as many of the last ones as `backs` says once more."""
    delivered: list[Event] = []
    for i, event in enumerate(line):
        back = backs[i] if i < len(backs) else 0
        delivered += [event, *line[max(0, i + 1 - back) : i + 1]]
    return delivered


def render(change: ClusterChange, time_ms: int = 0) -> dict[str, Any]:
    cause = Cause(Position("vectors", 0, 0), Position("records", 0, 0), time_ms)
    event: dict[str, Any] = json.loads(EventRenderer("profile", SCOPE, "config").entry(change, cause).value)
    return event


def change(cid: str, version: int, members: str, added: str = "", removed: str = "") -> dict[str, Any]:
    """A change of a cluster whose records are called by one letter each."""
    return render(
        ClusterChange(
            "joined" if members else "dissolved",
            cid,
            version,
            tuple(added),
            tuple(removed),
            tuple(members),
            members[:1] or None,
        )
    )


def message(offset: int, event: Event, partition: int = 0) -> Message:
    return Message(topic="events", partition=partition, offset=offset, value=json.dumps(event).encode())


@contextmanager
def tables(events: Sequence[Event] = ()) -> Iterator[sqlite3.Connection]:
    with closing(crm.open_database(":memory:")) as database:
        for event in events:
            crm.apply_event(database, event)
        yield database


def pairs(database: sqlite3.Connection) -> Pairs:
    return set(database.execute("SELECT cluster_id, record_id FROM cluster_member"))


def members(clusters: Mapping[str, Cluster]) -> Pairs:
    return {(cid, record) for cid, cluster in clusters.items() for record in cluster.members}


def rows(database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return database.execute(query).fetchall()


def assert_in_step(database: sqlite3.Connection, events: Sequence[Event], clusters: Mapping[str, Cluster]) -> None:
    assert_alive(database, clusters)
    last = {event["subject"]: event["data"] for event in events}
    assert sorted(
        rows(database, "SELECT cluster_id, version, record_to_keep, size, merged_into FROM duplicate_cluster")
    ) == (sorted((cid, d["version"], d["record_to_keep"], d["size"], d.get("merged_into")) for cid, d in last.items()))


def assert_alive(database: sqlite3.Connection, clusters: Mapping[str, Cluster]) -> None:
    assert pairs(database) == members(clusters)
    found = rows(database, "SELECT record_id, cluster_id, keep FROM record_cluster")
    assert sorted(found) == sorted((r, cid, r == c.exemplar) for cid, c in clusters.items() for r in c.members)
    live = rows(database, "SELECT cluster_id, version, record_to_keep, size FROM duplicate_cluster WHERE size > 0")
    assert sorted(live) == sorted((cid, c.version, c.exemplar, len(c.members)) for cid, c in clusters.items())


def states(events: Sequence[Event]) -> dict[str, dict[str, Any] | None]:
    """What the compacted topic holds after some events."""
    found: dict[str, dict[str, Any] | None] = {}
    for data in (event["data"] for event in events):
        cid = data["cluster_id"]
        before = set((found.get(cid) or {"members": ()})["members"])
        members = sorted((before | set(data["added"])) - set(data["removed"]))
        ended = data["size"] == 0 and "merged_into" not in data
        found[cid] = None if ended else {**data, "members": members}
    return found


@settings(max_examples=300)
@given(st.data(), histories())
def test_tables_are_right_whatever_the_interleaving(
    data: st.DataObject, history: tuple[Sequence[Event], Mapping[str, Cluster]]
) -> None:
    events, clusters = history

    with tables() as database:
        for event in data.draw(deliveries(events)):
            crm.apply_event(database, event)
            sizes = "SELECT size, (SELECT count(*) FROM cluster_member m WHERE m.cluster_id = c.cluster_id)"
            assert all(size == count for size, count in rows(database, f"{sizes} FROM duplicate_cluster c"))
            assert rows(database, "SELECT 1 FROM record_cluster GROUP BY record_id HAVING count(*) > 1") == []
        assert_in_step(database, events, clusters)


@settings(max_examples=300)
@given(st.data(), histories())
def test_tables_that_begin_late_are_right(
    data: st.DataObject, history: tuple[Sequence[Event], Mapping[str, Cluster]]
) -> None:
    events, clusters = history
    deleted = data.draw(st.integers(0, len(events)))
    told = data.draw(st.integers(deleted, len(events)))

    with tables() as database:
        for cid, state in states(events[:told]).items():
            crm.apply_state(database, cid, state, "1970-01-01T00:00:00.000Z")
        for event in data.draw(deliveries(events[deleted:])):
            crm.apply_event(database, event)
        assert_alive(database, clusters)


@given(st.data(), histories())
def test_events_that_list_their_members_may_even_overtake_one_another_within_a_cluster(
    data: st.DataObject, history: tuple[Sequence[Event], Mapping[str, Cluster]]
) -> None:
    events, clusters = history
    listed = all("members" in event["data"] for event in events)

    with tables(data.draw(st.permutations(events)) if listed else events) as database:
        assert_in_step(database, events, clusters)


@given(st.data(), histories())
def test_a_batch_that_fails_changes_nothing_and_may_be_repeated(
    data: st.DataObject, history: tuple[Sequence[Event], Mapping[str, Cluster]]
) -> None:
    events, clusters = history
    messages = [message(offset, event) for offset, event in enumerate(events)]
    cut = data.draw(st.integers(0, len(messages)))

    with tables() as database:
        crm.apply_messages(database, messages[:cut])
        before = list(database.iterdump())
        with pytest.raises(SystemExit, match=r"cannot apply events\[0\] offset 99"):
            crm.apply_messages(database, [*messages[cut:], Message(topic="events", partition=0, offset=99, value=b"{")])
        assert list(database.iterdump()) == before
        assert crm.apply_messages(database, messages[cut:]) == len(messages) - cut
        assert crm.apply_messages(database, messages) == 0
        assert_in_step(database, events, clusters)


def test_a_record_that_went_and_came_back_stays_when_the_other_cluster_is_heard_of_late() -> None:
    here = [change("A", 1, "rxy", "rxy"), change("A", 2, "xy", removed="r"), change("A", 3, "rxy", "r")]
    there = [change("B", 1, "vwr", "vwr"), change("B", 2, "vw", removed="r")]

    with tables([*here, *there]) as database:
        assert rows(database, "SELECT cluster_id FROM record_cluster WHERE record_id = 'r'") == [("A",)]


def test_records_of_the_same_name_in_two_profiles_are_two_records() -> None:
    signup, listing = change("A", 1, "rx", "rx"), change("B", 1, "ry", "ry")
    listing["data"]["profile"] = "listing"

    with tables([signup, listing]) as database:
        found = rows(database, "SELECT profile, cluster_id FROM record_cluster WHERE record_id = 'r'")
        assert sorted(found) == [("listing", "B"), ("profile", "A")]


def test_missed_events_are_noticed_unless_the_next_lists_all_members() -> None:
    late = change("A", 7, "abc", "c")
    del late["data"]["members"]

    with tables([change("A", 5, "ab", "ab")]) as database:
        with pytest.raises(ValueError, match="events before version 7 of A are missing"):
            crm.apply_event(database, late)
        crm.apply_event(database, change("A", 8, "abd", added="d"))
        assert rows(database, "SELECT version FROM duplicate_cluster") == [(8,)]
        assert pairs(database) == {("A", "a"), ("A", "b"), ("A", "d")}


def test_states_replace_one_another_and_a_null_value_ends_one() -> None:
    first, second = states([change("A", 1, "ab", "ab")])["A"], states([change("A", 4, "bcd", "bcd")])["A"]

    def state(offset: int, value: Mapping[str, Any] | None) -> Message:
        encoded = None if value is None else json.dumps(value).encode()
        return Message(topic="states", partition=0, offset=offset, key=b"A", value=encoded, timestamp=(1, 1_500))

    with tables() as database:
        assert crm.apply_messages(database, [state(3, first), state(5, second)], states=True) == 2
        assert pairs(database) == {("A", "b"), ("A", "c"), ("A", "d")}
        assert rows(database, "SELECT since FROM cluster_member")[0] == ("1970-01-01T00:00:01.500Z",)
        crm.apply_messages(database, [state(7, first)], states=True)
        assert pairs(database) == {("A", "b"), ("A", "c"), ("A", "d")}
        crm.apply_messages(database, [state(8, None)], states=True)
        assert pairs(database) == set()
        assert rows(database, "SELECT * FROM duplicate_cluster") == []
        assert rows(database, "SELECT * FROM kafka_progress") == [("states", 0, 9)]


def test_other_events_are_passed_over_and_newer_versions_refused() -> None:
    event = change("A", 1, "ab", "ab")

    with tables() as database:
        assert not crm.apply_event(database, {**event, "type": "dedup.possible.found.v1"})
        with pytest.raises(ValueError, match="newer version"):
            crm.apply_event(database, {**event, "type": "dedup.cluster.joined.v2"})
        assert pairs(database) == set()


def test_progress_is_kept_per_partition() -> None:
    with tables() as database:
        crm.apply_messages(
            database, [message(4, change("A", 1, "ab", "ab")), message(9, change("B", 1, "cd", "cd"), 2)]
        )
        assert sorted(rows(database, "SELECT * FROM kafka_progress")) == [("events", 0, 5), ("events", 2, 10)]


def test_a_record_is_found_without_reading_every_row() -> None:
    with tables() as database:
        plan = rows(database, "EXPLAIN QUERY PLAN SELECT * FROM record_cluster WHERE record_id = 'r'")
        assert any("SEARCH m USING INDEX cluster_member_record" in str(step) for step in plan)
