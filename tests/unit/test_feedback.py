"""What people say of pairs, from bytes and from files: read, or refused with a reason that tells nothing else."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decode import LAST_MS, MAX_ID_CHARS
from consumer.errors import RejectedError, SettingsError
from consumer.feedback import (
    FAULTS_SHOWN,
    MAX_BY_CHARS,
    FeedbackMessage,
    decode_feedback,
    message_key,
    read_statements,
    read_verdicts,
    standing,
)
from consumer.records import Position, Saying, Verdict
from tests.factories import NOW_MS, message, offer_profile, person_profile, position
from tests.strategies import JSON_VALUES

PERSON, OFFER = person_profile(), offer_profile()
SECRET = "zanzibar"
SAID: dict[str, object] = {"a": "r2", "b": "r1", "verdict": "same", "by": "Ann", "profile": "person"}
OFFERED: dict[str, object] = {**SAID, "profile": "offer"}


def decoded(value: object, timestamp_ms: int = NOW_MS) -> Verdict | None:
    content = value if isinstance(value, bytes | None) else orjson.dumps(value)
    profile = OFFER if isinstance(value, dict) and value.get("profile") == "offer" else PERSON
    return decode_feedback(message(content, b"any", topic="feedback", offset=3, timestamp_ms=timestamp_ms), profile)


def refusal(value: object) -> str:
    with pytest.raises(RejectedError) as caught:
        decoded(value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_word_becomes_a_verdict_whose_pair_is_in_order() -> None:
    source = position(3, topic="feedback")
    assert decoded(SAID) == Verdict("r1", "r2", "same", "Ann", NOW_MS, "default", source, NOW_MS)
    assert decoded({**SAID, "a": "r1", "b": "r2"}) == decoded(SAID)


def test_blanks_around_a_name_and_unknown_keys_say_nothing() -> None:
    assert decoded({**SAID, "by": " Ann\n", "note": {"of": "hers"}, "at": None, "scope": None}) == decoded(SAID)


@pytest.mark.parametrize(
    ("at", "said_ms"),
    [
        ("2025-09-02T09:30:00Z", 1_756_805_400_000),
        ("2025-09-02T10:30:00+01:00", 1_756_805_400_000),
        ("2025-09-02t09:30:00.1239z", 1_756_805_400_123),
        ("2025-09-02 09:30:00.123456789-00:00", 1_756_805_400_123),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_the_time_it_was_said_is_its_own_and_not_the_messages(at: str, said_ms: int) -> None:
    verdict = decoded({**SAID, "at": at})
    assert verdict is not None
    assert (verdict.said_ms, verdict.ingested_ms) == (said_ms, NOW_MS)


@pytest.mark.parametrize(("timestamp_ms", "read"), [(-1, 0), (2**62, LAST_MS)])
def test_times_no_clock_knows_are_moved_to_the_nearest(timestamp_ms: int, read: int) -> None:
    verdict = decoded(SAID, timestamp_ms)
    assert verdict is not None
    assert (verdict.said_ms, verdict.ingested_ms) == (read, read)


def test_a_time_to_come_is_that_of_the_message() -> None:
    assert decoded({**SAID, "at": "9999-12-31T23:59:59Z"}) == decoded(SAID)


def test_a_word_names_its_scope_where_there_are_many() -> None:
    verdict = decoded({**OFFERED, "scope": "de"})
    assert verdict is not None
    assert verdict.scope == "de"
    assert refusal(OFFERED) == "scope: missing; the profile offer has many, say which has the two records"
    assert decoded({**SAID, "scope": "default"}) == decoded(SAID)


@pytest.mark.parametrize("value", [{**SAID, "profile": "other"}, {"profile": "other"}, {"profile": "other", "a": 5}])
def test_what_is_meant_for_another_profile_is_passed_over(value: object) -> None:
    assert decoded(value) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"a": "r1"}, "a and b are the same record"),
        ({"a": ""}, "a: String should have at least 1 character"),
        ({"a": SECRET * 40}, f"a: String should have at most {MAX_ID_CHARS} characters"),
        ({"a": [SECRET]}, "a: Input should be a valid string"),
        ({"b": 7}, "b: Input should be a valid string"),
        ({"verdict": SECRET}, "verdict: Input should be 'same', 'different' or 'undecided'"),
        ({"by": "x" * (MAX_BY_CHARS + 1)}, f"by: String should have at most {MAX_BY_CHARS} characters"),
        ({"by": " "}, r"by: String should match pattern '\S'"),
        ({"by": "\x1c"}, "by: no name"),
        ({"profile": SECRET.upper()}, "profile: String should match pattern '^[a-z0-9][a-z0-9._-]{0,63}$'"),
        ({"profile": None}, "profile: Input should be a valid string"),
        ({"scope": "de"}, "scope: the profile person has one scope, default"),
        ({"scope": f"{{{SECRET}}}"}, "scope: String should match pattern '^[A-Za-z0-9._-]{1,64}$'"),
        ({"at": "2026-02-30T00:00:00Z"}, "at: there is no such time"),
        ({"at": "1969-12-31T23:59:59Z"}, "at: a time from 1970 to 9999 is wanted"),
        ({"at": "0001-01-01T00:00:00+23:59"}, "at: a time from 1970 to 9999 is wanted"),
        ({"at": "9999-12-31T23:59:59-23:59"}, "at: a time from 1970 to 9999 is wanted"),
    ],
    ids=str,
)
def test_a_word_that_is_none_is_refused_with_the_reason(changes: dict[str, object], reason: str) -> None:
    assert refusal({**SAID, **changes}) == reason


def test_all_faults_of_a_word_are_named() -> None:
    assert refusal({"profile": "person", "a": 1, "b": "x"}) == (
        "a: Input should be a valid string; verdict: Field required; by: Field required"
    )


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"5", b"null", b'"zanzibar"', b"\xff"])
def test_what_is_no_json_object_is_refused(value: bytes | None) -> None:
    assert refusal(value)


KEYS = st.sampled_from(["a", "b", "verdict", "by", "profile", "scope", "at", "more"])
NEARLY = st.dictionaries(
    KEYS, JSON_VALUES | st.sampled_from(["person", "same", "r1", "r2", "2025-09-02T09:30:00Z"]), max_size=8
)
DOCUMENTS = (NEARLY.map(lambda changes: {**SAID, **changes}) | NEARLY | JSON_VALUES).map(orjson.dumps)
CUT = st.tuples(DOCUMENTS, st.integers(0, 20)).map(lambda pair: pair[0][: -pair[1] or None])


def outcome(value: bytes | None, timestamp_ms: int) -> Verdict | RejectedError | None:
    try:
        return decode_feedback(message(value, None, timestamp_ms=timestamp_ms), PERSON)
    except RejectedError as error:
        return error


@given(st.none() | st.binary(max_size=60) | CUT, st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=500)
def test_any_bytes_are_a_verdict_or_passed_over_or_refused(value: bytes | None, timestamp_ms: int) -> None:
    item = outcome(value, timestamp_ms)
    if isinstance(item, Verdict):
        assert 0 < len(item.a) <= MAX_ID_CHARS
        assert item.a < item.b
        assert 0 < len(item.by) <= MAX_BY_CHARS
        assert item.scope == "default"
        assert 0 <= item.said_ms <= item.ingested_ms <= LAST_MS
    assert item is None or len(str(item)) < 2000


def test_a_pair_has_one_key_and_it_is_that_of_the_possible_duplicate() -> None:
    def key(a: str, b: str) -> bytes:
        said: FeedbackMessage = {"a": a, "b": b, "verdict": "same", "by": "Ann", "profile": "person"}
        return message_key(said)

    assert key("r1", "r|2") == b"r1|r%7C2"
    assert key("r1|r", "2") != key("r1", "r|2")


# files


def write(path: Path, *lines: object) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines) + b"\n")
    return path


def test_a_dump_of_the_topic_is_read_line_by_line(tmp_path: Path) -> None:
    at = "2025-09-02T09:30:00Z"
    file = write(tmp_path / "said.jsonl", {**SAID, "at": at}, b"", {**SAID, "profile": "other"}, {**SAID, "b": "r9"})
    first, last = read_verdicts(file, PERSON)
    assert (first.a, first.b, first.said_ms) == ("r1", "r2", 1_756_805_400_000)
    assert (first.source, last.source) == (Position("said.jsonl", 0, 1), Position("said.jsonl", 0, 4))
    assert last.said_ms == int(file.stat().st_mtime * 1000)
    assert [(s["a"], s["b"]) for s in read_statements(file, PERSON)] == [("r1", "r2"), ("r2", "r9")]


def test_every_faulty_line_of_a_dump_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "said.jsonl", SAID, b"{", {**SAID, "verdict": SECRET}, {**SAID, "a": "r1"})
    for read in (read_verdicts, read_statements):
        with pytest.raises(SettingsError) as caught:
            read(file, PERSON)
        heading, *faults = str(caught.value).split("\n  ")
        assert heading == f"{file}:"
        assert [fault.split(":")[0] for fault in faults] == ["line 2", "line 3", "line 4"]
        assert SECRET not in str(caught.value)


def test_of_very_many_faults_the_first_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"and {50 - FAULTS_SHOWN} more") as caught:
        read_verdicts(write(tmp_path / "said.jsonl", *[b"?"] * 50), PERSON)
    assert str(caught.value).count("\n") == FAULTS_SHOWN + 1


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=str(tmp_path / name)):
        read_verdicts(tmp_path / name, PERSON)


def said(saying: Saying, b: str = "r2", scope: str = "at") -> Verdict:
    return Verdict("r1", b, saying, "Ann", 0, scope, position(), 0)


def test_the_last_word_on_a_pair_stands() -> None:
    first, other, last = said("same"), said("same", "r3"), said("different")
    assert standing([first, other, last]) == [other, last]
    assert standing([first, other, said("undecided")]) == [other]
    assert standing([first, said("different", scope="de")]) == [first, said("different", scope="de")]
    assert standing([]) == []
