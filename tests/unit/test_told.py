"""What was told of clusters, folded from the compacted topic and the events."""

from itertools import combinations
from typing import Any

import orjson
import pytest

from consumer.records import Message, Position
from consumer.recovery.told import Told

PROFILE = "person"


def state(cid: str, version: int, members: list[str], *, at: int = 0, **more: Any) -> Message:
    value = {"profile": PROFILE, "scope": "default", "cluster_id": cid, "version": version, "size": len(members)}
    content = {**value, "members": members, "record_to_keep": members[0] if members else None, **more}
    return Message(Position("clusters", 0, 0), cid.encode(), orjson.dumps(content), at)


def event(cid: str, version: int, added: list[str], removed: list[str], size: int, **more: Any) -> Message:
    data = {"profile": PROFILE, "scope": "default", "cluster_id": cid, "version": version, "size": size}
    content = {"data": {**data, "added": added, "removed": removed, "record_to_keep": None, **more}}
    return Message(Position("events", 0, 0), cid.encode(), orjson.dumps(content), 0)


def end(cid: str) -> Message:
    return Message(Position("clusters", 0, 0), cid.encode(), None, 0)


def test_an_event_that_is_newer_than_the_state_counts() -> None:
    told = Told(PROFILE)
    told.state(state("c", 2, ["a", "b", "d"]))
    for message in (event("c", 2, ["d"], [], 3), event("c", 3, ["e"], ["b"], 3)):
        told.event(message)
    assert list(told.of("default")["c"].members) == ["a", "d", "e"]
    assert told.of("default")["c"].version == 3
    assert told.stated["c"] == 2
    assert not told.faults


def test_a_cluster_that_ended_by_a_null_value_has_the_version_of_its_last_event() -> None:
    told = Told(PROFILE)
    told.state(state("c", 1, ["a", "b"]))
    told.state(end("c"))
    assert (told.of("default")["c"].version, told.of("default")["c"].live) == (2, False)
    told.event(event("c", 4, ["d"], [], 3))
    told.event(event("c", 5, [], ["a", "b", "d"], 0))
    assert (told.of("default")["c"].version, told.of("default")["c"].live) == (5, False)


def test_an_end_of_which_nothing_else_is_known_is_no_cluster() -> None:
    told = Told(PROFILE)
    told.state(end("c"))
    assert told.scopes == {}


@pytest.mark.parametrize("places", list(combinations(range(4), 2)))
def test_states_of_one_cluster_in_two_partitions_may_be_read_in_any_order(places: tuple[int, int]) -> None:
    ended, moved = Told(PROFILE), Told(PROFILE)
    older = [state("c", 3, ["a", "b"]), state("c", 4, ["a", "b", "d"])]
    for told, newer in (
        (ended, [state("c", 5, ["a", "b"]), end("c")]),
        (moved, [state("c", 5, ["a", "b"]), state("c", 6, ["b", "d"])]),
    ):
        first, second = iter(older), iter(newer)
        for place in range(4):
            told.state(next(first if place in places else second))
    assert (ended.of("default")["c"].version, ended.of("default")["c"].live, ended.stated) == (6, False, {})
    assert (moved.of("default")["c"].version, moved.of("default")["c"].members) == (6, ("b", "d"))
    assert moved.stated == {"c": 6}


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (event("c", 1, ["a", "b"], [], 2), "event_repeated"),
        (event("c", 1, ["a", "d"], [], 2), "event_rewritten"),
        (event("c", 3, ["d"], [], 3), "event_gap"),
    ],
)
def test_what_a_subscriber_must_not_see_is_noted(second: Message, kind: str) -> None:
    told = Told(PROFILE)
    told.event(event("c", 1, ["a", "b"], [], 2))
    told.event(second)
    assert [fault.kind for fault in told.faults] == [kind]


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b'{"profile": "other"}', b'{"profile": "person"}', b'{"data": 1}'])
def test_what_is_not_ours_is_passed_over(value: bytes) -> None:
    told = Told(PROFILE)
    foreign = Message(Position("clusters", 0, 0), b"c", value, 0)
    told.state(foreign)
    told.event(foreign)
    assert told.scopes == {}
