"""The encode stage with real encoders: messages in, messages of the vectors topic out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decode import decode
from consumer.encode import EncodeStage
from consumer.letters.dead_letters import dead_letter
from consumer.loop import Result, result_of
from consumer.metrics import METRICS
from consumer.names import scope_partition
from consumer.profile import Profile
from consumer.records import Embeddings, Erasure, FieldValue, Message, Outgoing, Record, Tick, Vector, Verdict
from consumer.vectors import unpack
from tests.factories import KEY, NOW_MS, encoder_set, message, offer_profile, person_profile, position, signup
from tests.strategies import any_value, signups

ENCODERS = encoder_set()
PARTITIONS = 5
OTHER_KEY = bytes(reversed(KEY))
MODALITIES = person_profile().model_dump()["modalities"]


def process(messages: Sequence[Message]) -> Result:
    return result_of(EncodeStage(ENCODERS, PARTITIONS), messages)


def read(sent: Outgoing) -> Vector | Erasure | Verdict | Tick:
    return unpack(message(sent.value, sent.key, headers=sent.headers), ENCODERS.fingerprint, ENCODERS.layout.dim)


def inputs(values: Sequence[object]) -> list[Message]:
    return [
        message(v if isinstance(v, dict | bytes) or v is None else b"?", f"r{i}", offset=i)
        for i, v in enumerate(values)
    ]


def test_a_record_becomes_one_vector_that_carries_numbers_only() -> None:
    result = process([message(signup("Zanzibar Quux", "Xanadu"), "r1", offset=9, partition=2)])
    (sent,) = result.outgoing
    assert sent.topic == "vectors.person"
    assert sent.partition == scope_partition("default", PARTITIONS)
    assert (sent.key, sent.timestamp_ms) == (b"r1", NOW_MS)
    for word in (b"Zanzibar", b"zanzibar", b"Quux", b"Xanadu", b"Firefox", b"2025"):
        assert word not in (sent.value or b"")
    vector = read(sent)
    assert isinstance(vector, Vector)
    assert (vector.source, vector.ingested_ms, vector.born_ms) == (position(9, 2), NOW_MS, NOW_MS)
    assert (vector.scope, vector.quality, vector.mask) == ("default", 1.0, 0b1111)
    assert np.linalg.norm(vector.values.astype(float)) == pytest.approx(1, abs=1e-2)


@given(
    st.lists(st.none() | signups() | any_value(person_profile()), max_size=8), st.lists(st.integers(0, 8), max_size=3)
)
@settings(max_examples=60)
def test_batching_changes_nothing(values: list[object], cuts: list[int]) -> None:
    messages = inputs(values)
    whole = process(messages)
    places = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    stage = EncodeStage(ENCODERS, PARTITIONS)
    parts = [result_of(stage, messages[a:b]) for a, b in pairwise(places)]
    assert [o for part in parts for o in part.outgoing] == list(whole.outgoing)
    assert [r for part in parts for r in part.rejected] == list(whole.rejected)
    assert process(messages) == whole, "repeating a batch changes nothing"


def test_an_erasure_goes_to_every_partition() -> None:
    result = process([message(None, "r1", offset=9)])
    assert [(o.topic, o.partition, o.key, o.value) for o in result.outgoing] == [
        ("vectors.person", number, b"r1", None) for number in range(PARTITIONS)
    ]
    assert [read(o) for o in result.outgoing] == [Erasure("r1", position(9), NOW_MS)] * PARTITIONS


FEEDBACK = "feedback"


def word(offset: int = 0, profile: str = "person", **changes: object) -> Message:
    said = {"a": "r1", "b": "r2", "verdict": "different", "by": "Ann", "profile": profile, **changes}
    return message(said, "any", offset=offset, topic=FEEDBACK)


def told(messages: Sequence[Message], profile: Profile) -> Result:
    return result_of(EncodeStage(encoder_set(profile), 12, FEEDBACK), messages)


def passed_over() -> float:
    return METRICS.registry.get_sample_value("dedup_feedback_total", {"says": "other_profile"}) or 0.0


def test_a_word_of_a_person_goes_to_where_its_scope_lives() -> None:
    offers = offer_profile()
    result = told([word(4, "offer", scope=scope) for scope in ("de", "DE")], offers)
    assert [(o.topic, o.partition) for o in result.outgoing] == [("vectors.offer", 6), ("vectors.offer", 2)]
    assert read(result.outgoing[0]) == Verdict(
        "r1", "r2", "different", "Ann", NOW_MS, "de", position(4, topic=FEEDBACK), NOW_MS
    )


def test_a_word_needs_no_scope_where_there_is_one() -> None:
    (sent,) = told([word()], person_profile()).outgoing
    assert sent.partition == scope_partition("default", 12)
    assert [r.reason for r in told([word(profile="offer")], offer_profile()).rejected] == [
        "scope: missing; the profile offer has many, say which has the two records"
    ]


def test_records_and_words_keep_their_order_in_a_batch() -> None:
    messages = [
        message(signup("Ann"), "r1", offset=0),
        word(0),
        message(signup("Bob"), "r2", offset=1),
        word(1, "other"),
        word(2, verdict="perhaps"),
        message(None, "r1", offset=2),
    ]
    before = passed_over()
    stage = EncodeStage(ENCODERS, 1, FEEDBACK)
    result = result_of(stage, messages)
    assert [type(read(o)) for o in result.outgoing] == [Vector, Verdict, Vector, Erasure]
    assert [r.message for r in result.rejected] == [messages[4]]
    assert result.rejected[0].reason == "verdict: Input should be 'same', 'different' or 'undecided'"
    assert passed_over() == before + 1
    assert dead_letter(result.rejected[0]).topic == "feedback.dlq"
    stage.delivered()


def test_without_a_feedback_topic_every_message_is_a_record() -> None:
    assert [r.reason for r in process([word()]).rejected] == []
    assert isinstance(read(process([word()]).outgoing[0]), Vector)


def test_order_is_kept_and_a_rejected_row_takes_no_other_with_it() -> None:
    values: list[object] = [signup("Ann"), b"not json", None, {"name": ["x"]}, signup("Bob"), [], {}]
    messages = inputs(values)
    result = process([*messages, message({}, None, offset=99)])
    assert [o.key for o in result.outgoing] == [b"r0", *[b"r2"] * PARTITIONS, b"r4", b"r6"]
    assert [(r.message.position.offset, r.stage) for r in result.rejected] == [
        (1, "encode"),
        (3, "encode"),
        (5, "encode"),
        (99, "encode"),
    ]
    assert result.rejected[1].reason == "name: text is wanted, this is a list"
    assert result.rejected[0].message is messages[1]
    bob = read(result.outgoing[-2])
    alone = read(process(messages[4:5]).outgoing[0])
    assert isinstance(bob, Vector)
    assert isinstance(alone, Vector)
    assert np.array_equal(bob.values, alone.values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_makes_no_numbers_of_a_record_leaves_it_as_it_is(value: float) -> None:
    class Overflowing:
        dim, fingerprint = ENCODERS.encoders["name"].dim, "overflowing"

        def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
            made = ENCODERS.encoders["name"].encode(rows)
            made.vectors[[row.get("name") == "too much" for row in rows]] = value
            return made

    encoders = replace(ENCODERS, encoders={**ENCODERS.encoders, "name": Overflowing()})
    messages = inputs([signup("Ana"), signup("too much"), signup("Eva"), None])
    result = result_of(EncodeStage(encoders, 1), messages)

    assert [sent.key for sent in result.outgoing] == [b"r0", b"r2", b"r3"]
    (rejected,) = result.rejected
    assert (rejected.message, rejected.stage) == (messages[1], "encode")
    assert "no number" in rejected.reason


def test_nothing_in_nothing_out() -> None:
    assert process([]) == Result([], [], [], [])
    assert not process([message(b"?")]).outgoing
    assert ENCODERS.encode([]) == []


def vectors(*values: dict[str, object]) -> list[Vector]:
    records = [decode(m, ENCODERS.profile) for m in inputs(values)]
    return ENCODERS.encode([r for r in records if isinstance(r, Record)])


@pytest.mark.parametrize(
    ("value", "quality", "mask"),
    [
        (signup(), 1.0, 0b1111),
        ({}, 0.0, 0),
        ({"name": "Ann"}, 0.4, 0b0001),
        ({"city": "Oslo", "os": "Linux"}, 0.3, 0b1010),
        ({"browser": "Firefox", "login_times": ["2025-01-01"]}, 0.3, 0b1100),
        ({"name": "?!", "city": "  "}, 0.4, 0),
    ],
)
def test_quality_is_completeness_and_the_mask_what_was_encoded(
    value: dict[str, object], quality: float, mask: int
) -> None:
    (vector,) = vectors(value)
    assert (vector.quality, vector.mask) == (quality, mask)
    for i, block in enumerate(ENCODERS.layout.blocks):
        assert vector.values[block].any() == bool(mask >> i & 1)


def test_without_shares_every_record_is_complete() -> None:
    encoders = encoder_set(person_profile(quality={}))
    record = decode(message({}), encoders.profile)
    assert isinstance(record, Record)
    assert encoders.encode([record])[0].quality == 1.0


def test_records_alike_have_vectors_alike() -> None:
    ada, again, other = vectors(
        signup("Ada Lovelace", "London"),
        signup("Ada Lovelase", "LONDON"),
        signup("Grace Hopper", "New York", browser="Edge"),
    )
    assert float(ada.values.astype(float) @ again.values.astype(float)) > 0.8
    assert float(ada.values.astype(float) @ other.values.astype(float)) < 0.6


@pytest.mark.parametrize(
    ("scope", "partition"), [("default", 6), ("de", 6), ("DE", 2), ("tenant-42", 0), ("a", 11), ("x" * 64, 8)]
)
def test_a_scope_lives_in_one_partition_for_ever(scope: str, partition: int) -> None:
    # the values are those of `b2sum -l 64`; one that changes moves every scope of every deployment away from its state
    assert scope_partition(scope, 12) == partition


@given(st.text(max_size=64), st.integers(1, 500))
def test_a_scope_has_a_partition_that_exists(scope: str, partitions: int) -> None:
    assert 0 <= scope_partition(scope, partitions) < partitions
    assert scope_partition(scope, 1) == 0


def test_scopes_spread() -> None:
    used = {scope_partition(f"tenant-{i}", 12) for i in range(200)}
    assert used == set(range(12))


def test_a_vector_goes_to_the_partition_of_its_scope() -> None:
    encoders = encoder_set(offer_profile())
    sent = result_of(
        EncodeStage(encoders, 12), [message({"title": "x", "country": c}, c) for c in ("de", "DE")]
    ).outgoing
    assert [o.partition for o in sent] == [6, 2]


def test_the_fingerprint_names_everything_that_changes_the_numbers() -> None:
    heavier = {**MODALITIES, "name": {**MODALITIES["name"], "weight": 0.6}}
    wider = {**MODALITIES, "name": {**MODALITIES["name"], "dim": 128}}
    turned = dict(reversed(MODALITIES.items()))
    renamed = {("alias" if name == "name" else name): m for name, m in MODALITIES.items()}
    made = [
        ENCODERS.fingerprint,
        encoder_set(key=OTHER_KEY).fingerprint,
        *(encoder_set(person_profile(modalities=m)).fingerprint for m in (heavier, wider, turned, renamed)),
    ]
    assert len(set(made)) == len(made)


def test_the_fingerprint_is_the_same_where_the_numbers_are() -> None:
    scaled = {name: {**m, "weight": m["weight"] * 8} for name, m in MODALITIES.items()}
    thresholds = {"duplicate": 0.9, "possible": 0.5, "slope": 1, "min_evidence": 0}
    for same in (
        encoder_set(),
        encoder_set(person_profile(modalities=scaled)),
        encoder_set(person_profile(name="other", fusion=thresholds, quality={})),
    ):
        assert same.fingerprint == ENCODERS.fingerprint
