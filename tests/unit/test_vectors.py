"""The wire form of vectors and erasures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from consumer.decode import LAST_MS
from consumer.errors import RejectedError
from consumer.records import Erasure, Message, Outgoing, Position, Tick, Vector, Verdict
from consumer.vectors import (
    INGESTED_HEADER,
    SOURCE_HEADER,
    pack_erasure,
    pack_vector,
    pack_verdict,
    tick_message,
    unpack,
    word_entry,
    word_message,
)
from tests.factories import NOW_MS, message, position, vector
from tests.strategies import msgpack_values

DIM, MODELS = 8, "f00d"
SECRET = "zanzibar"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
POSITIONS = st.builds(
    Position, st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True), st.integers(0, 1000), st.integers(0, 2**63 - 1)
)
TIMES = st.integers(0, LAST_MS)
VECTORS = st.builds(
    Vector,
    id=IDS,
    scope=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    fingerprint=st.just(MODELS),
    source=POSITIONS,
    ingested_ms=TIMES,
    born_ms=st.integers(-62_135_683_200_000, LAST_MS),
    quality=st.floats(0, 1),
    mask=st.integers(0, 2**32 - 1),
    values=st_np.arrays(
        np.float16, DIM, elements=st_np.from_dtype(np.dtype("f2"), allow_nan=False, allow_infinity=False)
    ),
)


def arrived(sent: Outgoing) -> Message:
    """What a broker makes of a message."""
    assert sent.partition is not None
    return message(sent.value, sent.key, topic=sent.topic, partition=sent.partition, headers=sent.headers)


def body(**changes: object) -> bytes:
    """A packed vector with some of its parts replaced."""
    whole: dict[str, Any] = msgpack.unpackb(pack_vector(vector(dim=DIM), "vectors", 0).value or b"")
    packed: bytes = msgpack.packb({**whole, **changes})
    return packed


def refusal(value: bytes | None, headers: Mapping[str, bytes] | None = None, key: bytes | None = b"r1") -> str:
    with pytest.raises(RejectedError) as caught:
        unpack(message(value, key, headers=headers), MODELS, DIM)
    assert len(str(caught.value)) < 200
    assert SECRET not in str(caught.value)
    return str(caught.value)


@given(VECTORS)
def test_a_vector_comes_back_as_it_went(sent: Vector) -> None:
    back = unpack(arrived(pack_vector(sent, "vectors", 2)), MODELS, DIM)
    assert isinstance(back, Vector)
    assert np.array_equal(back.values, sent.values)
    assert replace(back, values=sent.values) == sent


@given(IDS, POSITIONS, TIMES)
def test_an_erasure_comes_back_as_it_went(record_id: str, source: Position, ingested_ms: int) -> None:
    sent = Erasure(record_id, source, ingested_ms)
    assert unpack(arrived(pack_erasure(sent, "vectors", 2)), MODELS, DIM) == sent


SCOPES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
VERDICTS = st.builds(
    lambda pair, **rest: Verdict(min(pair), max(pair), **rest),
    st.lists(IDS, min_size=2, max_size=2, unique=True),
    says=st.sampled_from(["same", "different", "undecided"]),
    by=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
    said_ms=TIMES,
    scope=SCOPES,
    source=POSITIONS,
    ingested_ms=TIMES,
)


@given(VERDICTS)
def test_a_verdict_comes_back_as_it_went(sent: Verdict) -> None:
    made = pack_verdict(sent, "vectors", 2)
    assert unpack(arrived(made), MODELS, DIM) == sent
    assert (made.topic, made.partition, made.timestamp_ms) == ("vectors", 2, sent.ingested_ms)


@given(VERDICTS, IDS)
def test_the_key_of_a_verdict_is_that_of_its_pair_and_of_no_record(sent: Verdict, record_id: str) -> None:
    key = pack_verdict(sent, "vectors", 0).key
    later = replace(sent, says="undecided", by="someone else", said_ms=0, source=position(9))
    assert pack_verdict(later, "vectors", 1).key == key
    elsewhere = replace(sent, scope="there" if sent.scope != "there" else "here")
    assert pack_verdict(elsewhere, "vectors", 0).key != key
    assert key != record_id.encode()


def verdict_body(**changes: object) -> bytes:
    """A packed verdict with some of its parts replaced."""
    whole = {"v": 1, "says": "same", "by": "Ann", "at": 1, "src": ["t", 0, 1], "in": 2}
    packed: bytes = msgpack.packb({**whole, **changes})
    return packed


def verdict_key(*parts: object) -> bytes:
    packed: bytes = msgpack.packb(parts)
    return b"\xff" + packed


PAIR = verdict_key("de", "r1", "r2")


def test_a_verdict_made_by_hand_is_read() -> None:
    read = unpack(message(verdict_body(), PAIR), MODELS, DIM)
    assert read == Verdict("r1", "r2", "same", "Ann", 1, "de", Position("t", 0, 1), 2)


@pytest.mark.parametrize(
    "changes",
    [
        *({part: None} for part in ("v", "says", "by", "at", "src", "in")),
        {"v": 2},
        {"says": SECRET},
        {"says": ["same"]},
        {"by": ""},
        {"by": "x" * 129},
        {"by": 7},
        {"at": -1},
        {"at": LAST_MS + 1},
        {"in": float("inf")},
        {"src": ["t", 0]},
    ],
    ids=str,
)
def test_a_verdict_that_the_matcher_could_not_hold_is_refused(changes: dict[str, object]) -> None:
    refusal(verdict_body(**changes), key=PAIR)


@pytest.mark.parametrize(
    "key",
    [
        b"\xff",
        b"\xff\xff",
        verdict_key(),
        verdict_key("r1", "r2"),
        verdict_key("de", "r2", "r1"),
        verdict_key("de", "r1", "r1"),
        verdict_key("de", "", "r1"),
        verdict_key("de", "r1", "x" * 257),
        verdict_key("de", 1, 2),
        verdict_key("de", b"r1", b"r2"),
        verdict_key(None, "r1", "r2"),
        verdict_key("", "r1", "r2"),
        verdict_key("{zanzibar}", "r1", "r2"),
        verdict_key(7, "r1", "r2"),
    ],
    ids=repr,
)
def test_a_key_that_names_no_pair_is_refused(key: bytes) -> None:
    refusal(verdict_body(), key=key)


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x90", body()])
def test_what_is_not_a_verdict_is_refused_under_the_key_of_one(value: bytes) -> None:
    refusal(value, key=PAIR)


def test_a_null_value_ends_the_word_on_a_pair() -> None:
    said = Verdict("r1", "r2", "undecided", "", NOW_MS, "de", position(9), NOW_MS)
    sent = pack_verdict(said, "vectors", 3)
    assert (sent.key, sent.value) == (PAIR, None)
    assert unpack(arrived(sent), MODELS, DIM) == said
    refusal(None, sent.headers, verdict_key("de", "r2", "r1"))
    refusal(None, {}, PAIR)


@given(VERDICTS | VERDICTS.map(lambda word: replace(word, by="", says="undecided", said_ms=word.ingested_ms)))
def test_a_verdict_goes_through_the_outbox_unchanged(said: Verdict) -> None:
    assert word_message(word_entry(said, 0), "vectors", 2) == pack_verdict(said, "vectors", 2)


def test_a_topic_with_a_slash_comes_back_too() -> None:
    sent = Erasure("r1", position(topic="odd/name"), NOW_MS)
    assert unpack(arrived(pack_erasure(sent, "vectors", 0)), MODELS, DIM) == sent


def test_messages_carry_the_time_of_the_input() -> None:
    made = pack_vector(vector("né", dim=DIM), "vectors", 5)
    assert (made.topic, made.partition, made.key, made.timestamp_ms) == ("vectors", 5, "né".encode(), NOW_MS)
    gone = pack_erasure(Erasure("né", position(9, 1), NOW_MS), "vectors", 5)
    assert (gone.partition, gone.key, gone.value, gone.timestamp_ms) == (5, "né".encode(), None, NOW_MS)
    assert gone.headers == {SOURCE_HEADER: b"persons/1/9", INGESTED_HEADER: str(NOW_MS).encode()}


def test_vectors_of_other_models_are_refused_by_name() -> None:
    assert refusal(body(fp="beef")) == "vector of models beef, this matcher runs f00d"


@pytest.mark.parametrize("dim", [0, 7, 9])
def test_a_vector_of_another_length_is_refused(dim: int) -> None:
    assert refusal(body(vec=bytes(2 * dim))) == f"vector of {dim} numbers, 8 finite ones are wanted"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_with_a_number_that_is_none_is_refused(bad: float) -> None:
    values = np.zeros(DIM, "<f2")
    values[3] = bad
    assert "finite" in refusal(body(vec=values.tobytes()))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": SECRET},
        {"fp": SECRET},
        {"fp": 7},
        {"vec": bytes(15)},
        {"vec": SECRET},
        {"scope": None},
        {"scope": ""},
        {"scope": "{zanzibar}"},
        {"src": []},
        {"src": ["t", 0]},
        {"src": ["t", 0, SECRET]},
        {"src": ["t", -1, 0]},
        {"src": ["t", 0, 2**63]},
        {"src": ["t", 0, "9" * 100]},
        {"in": float("inf")},
        {"in": -1},
        {"in": LAST_MS + 1},
        {"born": float("nan")},
        {"born": 2**63},
        {"q": float("nan")},
        {"q": 1.5},
        {"q": -0.1},
        {"mask": -1},
        {"mask": 2**64 - 1},
        {"mask": None},
    ],
    ids=str,
)
def test_a_part_that_the_matcher_could_not_hold_is_refused(changes: dict[str, object]) -> None:
    refusal(body(**changes))


@pytest.mark.parametrize("missing", ["v", "scope", "fp", "src", "in", "born", "q", "mask", "vec"])
def test_a_missing_part_is_refused(missing: str) -> None:
    whole = msgpack.unpackb(body())
    del whole[missing]
    refusal(msgpack.packb(whole))


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x80", b"\x90", b"\xc0", b'{"name": "zanzibar"}', b"\x91" * 100_000, body() + b"\x00"]
)
def test_what_is_not_a_vector_is_refused(value: bytes) -> None:
    refusal(value)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {SOURCE_HEADER: b"t/0/1"},
        {INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"", INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"t/0", INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"t/0/zanzibar", INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"\xff/0/1", INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"t/0/-1", INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"t/0/" + b"9" * 30, INGESTED_HEADER: b"1"},
        {SOURCE_HEADER: b"t/0/1", INGESTED_HEADER: b""},
        {SOURCE_HEADER: b"t/0/1", INGESTED_HEADER: b"9" * 30},
    ],
    ids=str,
)
def test_a_tombstone_that_is_not_ours_is_refused(headers: dict[str, bytes]) -> None:
    refusal(None, headers)


def test_a_message_without_a_key_is_refused() -> None:
    assert "no key" in refusal(body(), key=None)


def outcome(received: Message) -> Vector | Erasure | Verdict | Tick | RejectedError:
    try:
        return unpack(received, MODELS, DIM)
    except RejectedError as error:
        return error


HEADERS = st.dictionaries(st.sampled_from([SOURCE_HEADER, INGESTED_HEADER]), st.binary(max_size=10), max_size=2)


@given(st.none() | st.binary(max_size=50) | msgpack_values(), HEADERS, st.binary(max_size=5))
@settings(max_examples=300)
def test_any_bytes_are_a_value_or_refused(value: bytes | None, headers: dict[str, bytes], key: bytes) -> None:
    item = outcome(message(value, key, headers=headers))
    assert isinstance(item, Vector | Erasure | Verdict | Tick) or len(str(item)) < 200


@given(st.data())
@settings(max_examples=300)
def test_a_vector_with_any_one_part_replaced_is_a_value_or_refused(data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["v", "scope", "fp", "src", "in", "born", "q", "mask", "vec"]))
    replaced = msgpack.unpackb(data.draw(msgpack_values()), strict_map_key=False)
    item = outcome(message(body(**{part: replaced})))
    if isinstance(item, Vector):
        assert 0 <= item.quality <= 1
        assert 0 <= item.ingested_ms <= LAST_MS
        assert pack_vector(item, "vectors", 0).value, "what was read can be written again"


@given(st.none() | st.binary(max_size=50) | msgpack_values(), st.binary(max_size=20) | msgpack_values())
@settings(max_examples=300)
def test_any_bytes_under_the_key_of_a_pair_are_a_verdict_or_refused(value: bytes | None, rest: bytes) -> None:
    item = outcome(message(value, b"\xff" + rest))
    assert isinstance(item, Verdict) or len(str(item)) < 200
    assert not isinstance(item, Verdict) or bool(item.by) == (value is not None)
    also = outcome(message(value, PAIR))
    assert isinstance(also, Verdict) or len(str(also)) < 200


def test_a_tick_names_a_scope_and_nothing_else() -> None:
    sent = tick_message("de", "vectors", 3)
    assert (sent.value, sent.partition, dict(sent.headers)) == (None, 3, {})
    where = Position("vectors", 3, 9)
    assert unpack(Message(where, sent.key, None, 5), MODELS, DIM) == Tick("de", where, 5)
    for key, value, timestamp_ms in (
        (b"\xfe", None, 5),
        (b"\xfe{x}", None, 5),
        (b"\xfe\xff", None, 5),
        (sent.key, b"", 5),
        (sent.key, None, -1),
    ):
        with pytest.raises(RejectedError, match="not a tick"):
            unpack(Message(where, key, value, timestamp_ms), MODELS, DIM)
