"""What a stage could not read: written to `<topic>.dlq` with the reason, read back from there, and made ready to be tried again."""

import hashlib
import re
from dataclasses import dataclass

from consumer.decode import MAX_ID_CHARS
from consumer.errors import RejectedError
from consumer.names import dead_letter_topic
from consumer.records import Message, Outgoing, Position, Rejected
from consumer.sections import MESSAGE_MAX_BYTES

REPLAYED = "dedup-replayed"
"""Header of a message that was sent again: `topic/partition/offset` of the one that was rejected."""
_OURS = "dedup-"
_SHA256, _LEFT_OUT = "dedup-payload-sha256", "dedup-left-out"
"""Not every letter has them; what a sender says under these names is no part of one."""
_MAX_KEY_BYTES = 4 * MAX_ID_CHARS
_NUMBERS = re.compile(r"\d+")


def dead_letter(rejected: Rejected) -> Outgoing:
    """The message for the dead-letter topic: the bytes as they came, and in headers what is wrong with them.

    Of a message that no topic takes as it is, since whoever sent it compressed it well, the headers of ours alone, and the
    key if a record's: the rest lies where it came from. Else one of them would stop the stream for good.
    """
    message = rejected.message
    position = message.position
    headers = {
        "dedup-stage": rejected.stage.encode(),
        "dedup-reason": rejected.reason.encode(),
        "dedup-topic": position.topic.encode(),
        "dedup-partition": str(position.partition).encode(),
        "dedup-offset": str(position.offset).encode(),
        "dedup-timestamp": str(message.timestamp_ms).encode(),
    }
    if message.value is not None:
        headers[_SHA256] = hashlib.sha256(message.value).hexdigest().encode()
    topic, key, value = dead_letter_topic(position.topic), message.key, message.value
    if _bytes(message) <= MESSAGE_MAX_BYTES:
        theirs = {name: said for name, said in message.headers.items() if name not in (_SHA256, _LEFT_OUT)}
        return Outgoing(topic, key, value, {**theirs, **headers})
    headers[_LEFT_OUT] = str(len(value or b"")).encode()
    return Outgoing(topic, key if key and len(key) <= _MAX_KEY_BYTES else None, b"", headers)


def _bytes(message: Message) -> int:
    """Of all that it holds."""
    headers = sum(len(name.encode()) + len(value) for name, value in message.headers.items())
    return len(message.key or b"") + len(message.value or b"") + headers


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, read back."""

    position: Position
    """Where it lies."""
    origin: Position
    """Where the rejected message lay."""
    stage: str
    reason: str
    rejected_ms: int
    """When the letter was written."""
    sent_ms: int
    """Timestamp of the rejected message."""
    sha256: str | None
    """Of its value; None for a null value, and for letters of versions that did not say it."""
    size: int | None
    """Bytes of its value; None for a null value."""
    whole: bool = True
    """Whether the letter holds the rejected message."""

    @property
    def kind(self) -> str:
        """The reason without its numbers, so that alike ones are counted together."""
        return _NUMBERS.sub("#", self.reason)


def read_letter(message: Message) -> Letter:
    """What the headers of a dead letter say. Raises RejectedError for a message that is none."""
    headers = message.headers
    try:
        sha256, left_out = headers.get(_SHA256), headers.get(_LEFT_OUT)
        size = None if message.value is None else len(message.value)
        return Letter(
            position=message.position,
            origin=Position(
                headers["dedup-topic"].decode(), int(headers["dedup-partition"]), int(headers["dedup-offset"])
            ),
            stage=headers["dedup-stage"].decode(),
            reason=headers["dedup-reason"].decode(),
            rejected_ms=message.timestamp_ms,
            sent_ms=int(headers["dedup-timestamp"]),
            sha256=None if sha256 is None else sha256.decode(),
            size=size if left_out is None else int(left_out),
            whole=left_out is None,
        )
    except (KeyError, ValueError):  # UnicodeDecodeError is a ValueError
        raise RejectedError("no dead letter of ours: its headers do not say what was rejected, and why") from None


def original(message: Message, letter: Letter) -> Outgoing:
    """The rejected message, to be sent again: to the partition it was in, for there its key keeps its order.

    It goes without the headers that say what was wrong, and with one that says which message it repeats. Its timestamp is
    that of now: with the one it had, retention could take it away before it is read.
    """
    headers = {name: value for name, value in message.headers.items() if not name.startswith(_OURS)}
    origin = letter.origin
    headers[REPLAYED] = str(origin).encode()
    return Outgoing(origin.topic, message.key, message.value, headers, origin.partition)


def replayed_from(message: Message) -> Position | None:
    """The message that this one repeats, where a replay sent it."""
    named = message.headers.get(REPLAYED)
    if named is None:
        return None
    try:
        return Position.parse(named.decode())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: those that fit everything that is given."""

    reason: str | None = None
    """A part of it, in any case."""
    stage: str | None = None
    origins: frozenset[Position] = frozenset()

    def __contains__(self, letter: Letter) -> bool:
        return (
            (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.stage is None or self.stage == letter.stage)
            and (not self.origins or letter.origin in self.origins)
        )
