"""What `consumer.events` puts on the wire."""

import orjson
import pytest

from consumer.events import MEMBERS_SHOWN, EventRenderer
from consumer.records import (
    Cause,
    Cluster,
    ClusterChange,
    Evidence,
    Match,
    Member,
    Position,
    PossibleChange,
    Retired,
)

RENDERER = EventRenderer("signup", "eu", "digest")
CAUSE = Cause(Position("vectors.signup", 3, 41), Position("signups", 0, 7), 1_767_225_600_123)
MATCH = Match("b", 0.9, duplicate=True, similarities={"text": 0.75}, contributions={"text": 2.5})


def change(size: int = 2) -> ClusterChange:
    records = [f"r{i}" for i in range(size)]
    return ClusterChange("created", "c1", 1, records, (), records, "r0", evidence=[Evidence("a", "b", MATCH)])


def dissolved(merged_into: str | None = None) -> ClusterChange:
    return ClusterChange("dissolved", "c1", 5, (), ("a", "b"), (), None, merged_into=merged_into)


def test_a_cluster_event_is_named_by_cluster_and_version_and_keyed_by_cluster() -> None:
    entry = RENDERER.entry(change(), CAUSE)
    event = orjson.loads(entry.value)

    assert (entry.stream, entry.key) == ("events", "c1")
    assert (event["id"], event["subject"], event["data"]["version"]) == ("c1:1", "c1", 1)
    assert (event["source"], event["type"]) == ("/dedup/signup/eu", "dedup.cluster.created.v1")
    assert event["data"]["config"] == "digest"


def test_a_possible_pair_is_named_by_its_records_and_cause_with_separators_escaped() -> None:
    entry = RENDERER.entry(PossibleChange("found", Evidence("a|1", "b:2", MATCH, held="size_cap")), CAUSE)
    event = orjson.loads(entry.value)

    assert (entry.stream, entry.key) == ("possible", "a%7C1|b%3A2")
    assert (event["id"], event["type"]) == ("a%7C1|b%3A2:3.41", "dedup.possible.found.v1")
    assert event["data"]["evidence"] == {
        "a": "a|1",
        "b": "b:2",
        "probability": 0.9,
        "similarities": {"text": 0.75},
        "contributions": {"text": 2.5},
        "held": "size_cap",
    }


@pytest.mark.parametrize(("size", "listed"), [(2, True), (MEMBERS_SHOWN, True), (MEMBERS_SHOWN + 1, False)])
def test_members_are_listed_up_to_a_size(size: int, listed: bool) -> None:
    data = orjson.loads(RENDERER.entry(change(size), CAUSE).value)["data"]

    assert data["size"] == size
    assert ("members" in data) == listed
    assert len(data["added"]) == size


def test_the_time_is_when_the_cause_was_ingested_in_utc_to_the_millisecond() -> None:
    event = orjson.loads(RENDERER.entry(change(), CAUSE).value)

    assert event["time"] == event["ingestedtime"] == "2026-01-01T00:00:00.123Z"


def test_the_same_change_renders_to_the_same_bytes() -> None:
    assert RENDERER.entry(change(), CAUSE) == EventRenderer("signup", "eu", "digest").entry(change(), CAUSE)


def test_the_end_of_a_cluster_says_which_one_took_over() -> None:
    merged = orjson.loads(RENDERER.entry(dissolved("c2"), CAUSE).value)["data"]
    gone = orjson.loads(RENDERER.entry(dissolved(), CAUSE).value)["data"]

    assert (merged["merged_into"], merged["size"], merged["members"]) == ("c2", 0, [])
    assert (merged["removed"], merged["record_to_keep"]) == (["a", "b"], None)
    assert "merged_into" not in gone


def test_a_split_says_where_its_members_were() -> None:
    part = ClusterChange("split", "c2", 1, ("a", "b"), (), ("a", "b"), "a", split_from="c1")

    assert orjson.loads(RENDERER.entry(part, CAUSE).value)["data"]["split_from"] == "c1"


def test_the_state_of_a_cluster_lists_every_member_oldest_first() -> None:
    members = {f"r{born}": Member(born, 0.5) for born in reversed(range(MEMBERS_SHOWN + 1))}
    state = orjson.loads(RENDERER.state("c1", Cluster("c1", 4, 0, members, "r9")) or b"null")

    assert state["members"] == [f"r{born}" for born in range(MEMBERS_SHOWN + 1)]
    assert (state["version"], state["size"], state["record_to_keep"]) == (4, MEMBERS_SHOWN + 1, "r9")


def test_the_state_of_a_dissolved_cluster_is_null_unless_another_took_over() -> None:
    assert RENDERER.state("c1", Retired(5, None)) is None
    moved = orjson.loads(RENDERER.state("c1", Retired(5, "c2")) or b"null")
    assert (moved["merged_into"], moved["members"], moved["record_to_keep"]) == ("c2", [], None)
