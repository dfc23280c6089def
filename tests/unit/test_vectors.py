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
from consumer.records import Erasure, Message, Outgoing, Position, Vector
from consumer.vectors import INGESTED_HEADER, SOURCE_HEADER, pack_erasure, pack_vector, unpack
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


def outcome(received: Message) -> Vector | Erasure | RejectedError:
    try:
        return unpack(received, MODELS, DIM)
    except RejectedError as error:
        return error


HEADERS = st.dictionaries(st.sampled_from([SOURCE_HEADER, INGESTED_HEADER]), st.binary(max_size=10), max_size=2)


@given(st.none() | st.binary(max_size=50) | msgpack_values(), HEADERS, st.binary(max_size=5))
@settings(max_examples=300)
def test_any_bytes_are_a_value_or_refused(value: bytes | None, headers: dict[str, bytes], key: bytes) -> None:
    item = outcome(message(value, key, headers=headers))
    assert isinstance(item, Vector | Erasure) or len(str(item)) < 200


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
