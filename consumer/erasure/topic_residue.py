"""What the messages of a topic tell of a record: in its present state, and in what the topic has not lost yet."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from consumer.erasure.residue import Kind, Live, Retained, Traces, profile_of
from consumer.records import Message

_DAY_MS: Final = 24 * 3600 * 1000
_UNBOUNDED_MS: Final = 100 * 365 * _DAY_MS
"""Kafka writes "never" as the largest number of 64 bits."""
_WORD_KEY: Final = b"\xff"


class TopicScan:
    """Reads a topic, each partition in its order, and remembers where the record is named.

    `profile` is given for topics that profiles share: what is another's is passed over.
    """

    def __init__(self, topic: str, traces: Traces, *, compacted: bool, profile: str | None) -> None:
        self.topic = topic
        self.messages = 0
        self.values: list[bytes] = []
        """Those under the record's own key, oldest first."""
        self._traces = traces
        self._compacted = compacted
        self._profile = profile
        self._named: dict[tuple[int, int], tuple[int, bool]] = {}
        """(partition, offset) of a message that names the record → its timestamp, and whether it is a null value."""
        self._last: dict[tuple[int, bytes | None], tuple[int, int]] = {}
        """Key, of those that ever named it → where its last message is."""

    def read(self, messages: Iterable[Message]) -> "TopicScan":
        """Take in messages."""
        for message in messages:
            self.messages += 1
            self._note(message)
        return self

    def _note(self, message: Message) -> None:
        where = message.position.partition, message.position.offset
        place = message.position.partition, message.key
        if place in self._last:
            self._last[place] = where
        if not self._names_it(message):
            return
        self._last[place] = where
        self._named[where] = message.timestamp_ms, message.value is None
        if message.key == self._traces.key and message.value is not None:
            self.values.append(message.value)

    def _names_it(self, message: Message) -> bool:
        key, value = message.key or b"", message.value
        if key == self._traces.key:
            return self._profile is None or profile_of(value) in (None, self._profile)
        in_key = self._traces.in_bytes(key[1:]) if key.startswith(_WORD_KEY) else _pair(self._traces, key)
        if not (in_key or self._traces.in_bytes(value)):
            return False
        return self._profile is None or profile_of(value) in (None, self._profile)

    @property
    def live(self) -> list[Live]:
        """What compaction will leave for good, and names the record."""
        if not self._compacted:
            return []
        kept = [where for where in self._last.values() if where in self._named and not self._named[where][1]]
        return [
            Live(f"topic {self.topic}", f"the last message of its key names the record: partition {p}, offset {o}")
            for p, o in sorted(kept)
        ]

    def retained(self, config: Mapping[str, str]) -> list[Retained]:
        """What the topic will lose by itself, and when; `config` holds its settings in force."""
        if not self._compacted:
            return self._described("messages", [t for t, _ in self._named.values()], *_retention(config))
        last = set(self._last.values())
        older = [t for where, (t, null) in self._named.items() if where not in last]
        nulls = [t for where, (t, null) in self._named.items() if where in last and null]
        return [
            *self._described("older versions", older, *_compaction(config)),
            *self._described("null values", nulls, *_tombstones(config)),
        ]

    def _described(self, what: Kind, timestamps: list[int], span_ms: int | None, because: str) -> list[Retained]:
        if not timestamps:
            return []
        newest = max(timestamps)
        gone_by = None if span_ms is None or span_ms > _UNBOUNDED_MS else _utc(newest + span_ms)
        return [Retained(self.topic, what, len(timestamps), _utc(newest), gone_by, because)]


def _pair(traces: Traces, key: bytes) -> bool:
    try:
        return traces.in_text(key.decode())
    except UnicodeDecodeError:
        return False


def _retention(config: Mapping[str, str]) -> tuple[int | None, str]:
    """A segment goes when its newest message is old enough, and takes new ones for `segment.ms` at most."""
    kept, segment = _number(config, "retention.ms"), _number(config, "segment.ms")
    because = _shown(config, "retention.ms", "segment.ms")
    return None if kept < 0 else kept + segment, because


def _compaction(config: Mapping[str, str]) -> tuple[int | None, str]:
    lag = _number(config, "max.compaction.lag.ms")
    because = _shown(config, "max.compaction.lag.ms", "min.cleanable.dirty.ratio", "segment.ms")
    return None if lag < 0 else lag, because


def _tombstones(config: Mapping[str, str]) -> tuple[int | None, str]:
    """A null value goes at the second pass of the cleaner, a while after the first."""
    lag, kept = _number(config, "max.compaction.lag.ms"), _number(config, "delete.retention.ms")
    because = _shown(config, "max.compaction.lag.ms", "delete.retention.ms")
    return None if lag < 0 else 2 * lag + kept, because


def _number(config: Mapping[str, str], name: str) -> int:
    try:
        return int(config[name])
    except (KeyError, ValueError):
        return -1


def _shown(config: Mapping[str, str], *names: str) -> str:
    return ", ".join(f"{name}={config.get(name, 'unknown')}" for name in names)


def _utc(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
