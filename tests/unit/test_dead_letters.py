"""Dead letters read back, what of them is handled, and what stands behind them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import RejectedError
from consumer.letters.dead_letters import (
    Choice,
    Letter,
    dead_letter,
    original,
    read_letter,
    replayed_from,
)
from consumer.letters.handled import MAX_NOTE_CHARS, Handled
from consumer.letters.superseded import Newer, Overtaken
from consumer.records import Message, Outgoing, Position, Rejected
from consumer.sections import DEAD_LETTER_ROOM_BYTES, MESSAGE_MAX_BYTES
from tests.factories import NOW_MS, message

OFFSETS = st.sets(st.integers(0, 60), max_size=40)


def delivered(outgoing: Outgoing, offset: int = 0, partition: int = 0) -> Message:
    """What was sent, as a source hands it out."""
    position = Position(outgoing.topic, partition, offset)
    return Message(position, outgoing.key, outgoing.value, outgoing.timestamp_ms or NOW_MS, outgoing.headers)


def letter_of(rejected: Message, reason: str = "not JSON", offset: int = 0) -> Letter:
    return read_letter(delivered(dead_letter(Rejected(rejected, "encode", reason)), offset))


NAMES = st.text(st.characters(codec="ascii"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith("dedup-")  # those are a letter's own
)


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    headers=st.dictionaries(NAMES, st.binary(max_size=8)),
    offset=st.integers(0, 2**62),
)
def test_what_is_sent_again_is_what_was_rejected(
    key: bytes | None, value: bytes | None, headers: dict[str, bytes], offset: int
) -> None:
    rejected = message(value, key, offset=offset, partition=3, headers=headers)
    letter = delivered(dead_letter(Rejected(rejected, "match", "no 17")), offset=9)
    again = original(letter, read_letter(letter))
    assert (again.topic, again.key, again.value, again.partition) == ("persons", key, value, 3)
    assert again.timestamp_ms is None
    assert replayed_from(delivered(again, 99, 3)) == rejected.position
    assert {name: v for name, v in again.headers.items() if name != "dedup-replayed"} == headers


def test_a_letter_says_what_its_headers_say() -> None:
    letter = letter_of(message(b"{", offset=7, partition=3), "not JSON at 12, line 4", offset=5)
    assert (letter.position, letter.origin) == (Position("persons.dlq", 0, 5), Position("persons", 3, 7))
    assert (letter.stage, letter.kind, letter.size, letter.sent_ms) == ("encode", "not JSON at #, line #", 1, NOW_MS)
    assert letter.sha256 is not None
    assert len(letter.sha256) == 64
    assert letter in Choice("json", "encode", frozenset([letter.origin]))
    for other in (Choice("utf"), Choice(stage="match"), Choice(origins=frozenset([letter.position]))):
        assert letter not in other


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"r1", bytes(MESSAGE_MAX_BYTES), {}),
        (b"r1", b"{", {"trace": bytes(MESSAGE_MAX_BYTES)}),
        (b"r1", None, {"trace": bytes(MESSAGE_MAX_BYTES)}),
        (bytes(MESSAGE_MAX_BYTES), b"{", {}),
    ],
    ids=["value", "headers", "headers of a null value", "key"],
)
def test_a_message_that_no_topic_takes_uncompressed_has_a_letter_that_all_do(
    key: bytes, value: bytes | None, headers: dict[str, bytes]
) -> None:
    sent = dead_letter(Rejected(message(value, key, offset=7, headers=headers), "encode", "not JSON"))
    assert len(sent.key or b"") + len(sent.value or b"") + len(str(sent.headers)) < DEAD_LETTER_ROOM_BYTES
    letter = read_letter(delivered(sent))
    assert not letter.whole
    assert sent.value == b"", "a null value would erase, if ever it were sent"
    assert letter.size == len(value or b"")
    assert letter.origin == Position("persons", 0, 7)


def test_what_a_sender_says_in_our_name_is_no_part_of_a_letter() -> None:
    told = {"dedup-left-out": b"much", "dedup-payload-sha256": b"f" * 64, "dedup-reason": b"none"}
    letter = letter_of(message(None, "", headers=told))
    assert (letter.whole, letter.sha256, letter.size, letter.reason) == (True, None, None, "not JSON")


def test_the_largest_that_topics_take_is_kept_whole() -> None:
    large = message(bytes(MESSAGE_MAX_BYTES - 2), "r1")
    sent = dead_letter(Rejected(large, "encode", "not JSON"))
    assert sent.value == large.value
    assert read_letter(delivered(sent)).whole


@pytest.mark.parametrize(
    "headers", [{}, {"dedup-topic": b"\xff"}, {"dedup-partition": b"x"}, {"dedup-reason": None}], ids=str
)
def test_what_is_no_letter_is_refused(headers: dict[str, bytes | None]) -> None:
    whole = dict(dead_letter(Rejected(message(b"{"), "encode", "not JSON")).headers)
    broken = {} if not headers else {n: v for n, v in {**whole, **headers}.items() if v is not None}
    with pytest.raises(RejectedError, match="no dead letter"):
        read_letter(message(b"{", headers=broken))


@pytest.mark.parametrize("text", ["", "topic", "topic/1", "/1/2", "t/-1/2", "t/1/x", "t/1/\u0663"])
def test_a_position_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError):
        Position.parse(text)


@given(OFFSETS, OFFSETS, OFFSETS, st.integers(0, 61))
def test_what_is_handled_stays_so_and_nothing_else_becomes_it(
    first: set[int], then: set[int], there: set[int], before: int
) -> None:
    """Whatever is there: of the messages that exist, those and only those that were handled count as handled."""
    start = Handled(before)
    handled = (start | first).moved_up(sorted(there), 61)
    handled = (Handled.read(handled.before, handled.note) | then).moved_up(sorted(there), 61)
    assert {offset for offset in there if offset in handled} == {o for o in there if o < before or o in first | then}
    assert Handled.read(handled.before, handled.note) == handled
    if there <= {o for o in there if o in handled}:
        assert handled.note == ""


def test_a_note_of_others_tells_of_nothing() -> None:
    assert Handled.read(5, "by hand, 2026") == Handled(5)
    assert len((Handled(0) | range(0, 2_000, 2)).note) > MAX_NOTE_CHARS  # which is why a replay looks at it


# newer ones


REJECTED = message(b"{", "r1", offset=5)


@pytest.mark.parametrize(
    ("later", "superseded"),
    [
        ([], False),
        ([message(b"{}", "r2", offset=6)], False),
        ([message(b"{}", "r1", offset=6, partition=1)], False),
        ([message(b"{}", "r1", offset=6)], True),
        ([message(None, "r1", offset=6)], True),
        ([message(b"[", "r1", offset=7)], False),
        ([message(b"{}", "r1", offset=9, headers={"dedup-replayed": b"persons/0/3"})], False),
        ([message(b"{}", "r1", offset=9, headers={"dedup-replayed": b"persons/0/6"})], True),
    ],
    ids=[
        "nothing came",
        "another key",
        "another partition",
        "accepted",
        "erased",
        "rejected too",
        "an older one sent again",
        "a newer one sent again",
    ],
)
def test_what_supersedes_a_rejected_message(later: list[Message], superseded: bool) -> None:
    newer = Newer([b"r1"], {REJECTED.position, Position("persons", 0, 7)})
    for came in later:
        newer.note(came)
    assert newer.supersedes(letter_of(REJECTED), b"r1") is superseded
    assert not newer.is_replayed(letter_of(REJECTED))


def test_a_message_that_was_sent_again_is_known_by_its_header_even_without_a_key() -> None:
    newer = Newer([], set())
    newer.note(message(b"{", None, offset=9, headers={"dedup-replayed": b"persons/0/5"}))
    newer.note(message(b"{", None, offset=10, headers={"dedup-replayed": b"nonsense"}))
    assert newer.is_replayed(letter_of(REJECTED))
    assert not newer.is_replayed(letter_of(message(b"{", "r1", offset=10)))


def test_what_was_overtaken_by_an_older_one_is_said_again() -> None:
    behind = message(b"new", "r1", offset=10)
    ours = [
        message(b"old", key, offset=n, headers={"dedup-replayed": b"persons/0/%d" % m})
        for key, n, m in (("r1", 11, 5), ("r2", 12, 6), ("r3", 14, 7))
    ]
    overtaken = Overtaken([(Position("persons.dlq", 0, n), key) for n, key in enumerate((b"r1", b"r2", b"r3"))])
    after = [message(b"new", "r2", offset=13), message(b"new", "r9", offset=9)]
    for came in sorted([behind, *ours, *after], key=lambda m: m.position.offset):
        overtaken.note(came)
    assert overtaken.messages == [behind]
