"""Whether bytes name a record: found in every form that it is written in, and not where only something alike stands."""

import json
from urllib.parse import quote

import msgpack
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.erasure.residue import Traces, profile_of
from consumer.erasure.topic_residue import TopicScan
from consumer.records import Message, Position

IDS = st.text(min_size=1, max_size=12).filter(lambda t: t.encode(errors="replace").decode(errors="replace") == t)
HOUR_MS = 3_600_000
COMPACTED = {"max.compaction.lag.ms": str(HOUR_MS), "delete.retention.ms": str(2 * HOUR_MS), "segment.ms": "1"}
KEPT = {"retention.ms": str(HOUR_MS), "segment.ms": str(2 * HOUR_MS)}


@given(IDS, IDS)
@example("at", "0")
def test_an_id_is_found_in_every_form_it_is_written_in(record_id: str, other: str) -> None:
    traces = Traces(record_id)
    pair = f"{quote(other)}|{quote(record_id)}"
    for value in (
        {"members": [other, record_id]},
        {"data": {"evidence": [{"a": record_id, "b": other}]}},
        {"subject": pair, "id": f"{pair}:3.17"},
        {record_id: [1, 2]},
        [["deep", {"x": {"y": record_id}}]],
    ):
        assert traces.in_bytes(orjson.dumps(value))
        assert traces.in_bytes(json.dumps(value).encode()), "escaped to ASCII"
        assert traces.in_bytes(msgpack.packb(value))
    assert traces.in_bytes(msgpack.packb([b"\xff", orjson.dumps({"members": [record_id]})])), "one inside the other"


@given(IDS, IDS)
@example("scope", "0")
def test_another_id_is_not_taken_for_it(record_id: str, other: str) -> None:
    traces = Traces(record_id)
    if other == record_id or other in (quote(record_id), quote(record_id, safe="")) or "|" in other:
        return
    for value in (
        {"members": [other, other + record_id + other]},
        {"scope": record_id, "profile": record_id, "by": record_id},
    ):
        if {"members", other + record_id + other} & {record_id}:
            continue
        assert traces.in_bytes(orjson.dumps(value)) == any(traces.in_text(text) for text in value)


@pytest.mark.parametrize(
    ("record_id", "content", "found"),
    [
        ("7", b'{"version": 7, "size": 7}', False),
        ("7", b'{"members": ["7"]}', True),
        ("7", b'{"members": ["17", "70"]}', False),
        ("r1", b"{broken json with r1 in it", True),
        ("r1", b"{broken json with r10 and x-r1 in it", False),
        ("r1", b"\xff\xfe r1", True),
        ("r1", b"[" * 100_000 + b" r1", True),
        ("r1", b"", False),
        ("r1", None, False),
    ],
)
def test_bytes_of_any_kind(record_id: str, content: bytes | None, found: bool) -> None:
    assert Traces(record_id).in_bytes(content) is found


def test_the_profile_of_a_value_is_read_where_there_is_one() -> None:
    assert profile_of(b'{"data": {"profile": "a"}}') == "a"
    assert profile_of(b'{"profile": "b"}') == "b"
    assert [profile_of(v) for v in (None, b"", b"{", b"[]", b'{"profile": 7}', b'{"data": 1}')] == [None] * 6


# topics


def message(offset: int, key: str | bytes, value: object, partition: int = 0, hour: int = 0) -> Message:
    content = None if value is None else orjson.dumps(value)
    raw = key.encode() if isinstance(key, str) else key
    return Message(Position("topic", partition, offset), raw, content, hour * HOUR_MS)


def scanned(*messages: Message, compacted: bool = True, profile: str | None = None) -> TopicScan:
    return TopicScan("topic", Traces("r1"), compacted=compacted, profile=profile).read(messages)


def test_of_a_compacted_topic_the_last_of_a_key_is_live_and_older_ones_are_retained() -> None:
    scan = scanned(message(0, "r1", {"v": 1}, hour=5), message(1, "r1", {"v": 2}, hour=6), message(2, "r2", {}))
    assert [(live.where, live.what[-8:]) for live in scan.live] == [("topic topic", "offset 1")]
    (older,) = scan.retained(COMPACTED)
    assert (older.what, older.messages, older.newest, older.gone_by) == (
        "older versions",
        1,
        "1970-01-01T05:00:00Z",
        "1970-01-01T06:00:00Z",
    )
    assert [len(value) for value in scan.values] == [7, 7]


def test_a_null_value_ends_a_key_in_its_partition_only() -> None:
    scan = scanned(message(0, "r1", {"v": 1}), message(0, "r1", {"v": 1}, partition=1), message(1, "r1", None, hour=1))
    assert [live.what for live in scan.live] == ["the last message of its key names the record: partition 1, offset 0"]
    assert {(kept.what, kept.messages, kept.gone_by) for kept in scan.retained(COMPACTED)} == {
        ("older versions", 1, "1970-01-01T01:00:00Z"),
        ("null values", 1, "1970-01-01T05:00:00Z"),
    }


def test_a_state_that_named_the_record_and_does_not_any_more_is_no_live_one() -> None:
    state = {"profile": "p", "members": ["r1", "r2"]}
    assert scanned(message(0, "c1", state)).live
    scan = scanned(message(0, "c1", state), message(1, "c1", {**state, "members": ["r2", "r3"]}))
    assert not scan.live
    assert [kept.messages for kept in scan.retained(COMPACTED)] == [1]
    assert not scanned(message(0, "c1", state), message(1, "c1", None)).live


def test_a_word_is_known_by_its_key() -> None:
    key = b"\xff" + msgpack.packb(["default", "r0", "r1"])
    assert scanned(message(0, key, {"says": "same"})).live
    scan = scanned(message(0, key, {"says": "same"}), message(1, key, None))
    assert not scan.live
    assert sum(kept.messages for kept in scan.retained(COMPACTED)) == 2


def test_what_is_not_compacted_goes_with_its_segment_and_other_profiles_are_passed_over() -> None:
    ours, theirs = ({"data": {"profile": name, "added": ["r1"]}} for name in ("p", "q"))
    scan = scanned(message(0, "c", ours, hour=1), message(1, "c", theirs, hour=9), compacted=False, profile="p")
    assert not scan.live
    (kept,) = scan.retained(KEPT)
    assert (kept.what, kept.messages, kept.gone_by) == ("messages", 1, "1970-01-01T04:00:00Z")
    assert scan.messages == 2


@pytest.mark.parametrize(
    "config", [{"retention.ms": "-1", "segment.ms": "5"}, {"max.compaction.lag.ms": str(2**63 - 1)}, {}], ids=str
)
def test_where_the_settings_set_no_end_none_is_promised(config: dict[str, str]) -> None:
    for compacted in (False, True):
        scan = scanned(message(0, "r1", {}), message(1, "r1", None), compacted=compacted)
        assert {kept.gone_by for kept in scan.retained(config)} == {None}
