"""Where a record's id still stands, in bytes that others wrote: exactly, so that the id `7` is not found in a version number.

JSON and MessagePack are read, and their texts compared whole. What is neither is searched for the id with nothing on either
side that could belong to a longer one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import msgpack
import orjson

_NO_IDS = frozenset(
    {"scope", "profile", "by", "kind", "type", "verdict", "held", "config", "source", "specversion", "datacontenttype"}
    | {"dataschema", "time", "ingestedtime", "at"}
)
"""Names of values in our messages that name no record."""
_LONGER = r"[\w.:@+-]"


class Traces:
    """Finds one record's id."""

    def __init__(self, record_id: str) -> None:
        self.id = record_id
        self.key = record_id.encode()
        forms = {record_id, quote(record_id), quote(record_id, safe="")}
        escaped = {orjson.dumps(record_id)[1:-1].decode(), json.dumps(record_id)[1:-1]}
        self._forms = forms
        self._needles = sorted({form.encode() for form in forms | escaped})
        either = "|".join(re.escape(form) for form in sorted(forms | escaped))
        self._alone = re.compile(rf"(?<!{_LONGER})(?:{either})(?!{_LONGER})")

    def in_text(self, text: str) -> bool:
        """Whether a text is the id, or a pair of ids of which it is one: `<a>|<b>`, perhaps with `:<position>` behind."""
        if text in self._forms:
            return True
        one, bar, other = text.partition("|")
        return bool(bar) and (one in self._forms or other in self._forms or other.rpartition(":")[0] in self._forms)

    def in_bytes(self, content: bytes | None) -> bool:
        """Whether bytes of any kind name the record."""
        if not content or not any(needle in content for needle in self._needles):
            return False
        for read in (orjson.loads, _unpacked):
            try:
                value = read(content)
            except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
                continue
            if isinstance(value, dict | list):
                return any(self._in(text) for text in _texts(value))
        return self._alone.search(content.decode(errors="replace")) is not None

    def _in(self, text: str | bytes) -> bool:
        return self.in_bytes(text) if isinstance(text, bytes) else self.in_text(text)


def _unpacked(content: bytes) -> Any:
    return msgpack.unpackb(content, strict_map_key=False)


def _texts(value: Any) -> Iterator[str | bytes]:
    """Every text in a value, names included, but for what stands under a name of `_NO_IDS`.

    The name itself counts: a record may be called `at`, and would rather be found once too often.
    """
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(name)
            if name not in _NO_IDS:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def profile_of(value: bytes | None) -> str | None:
    """The profile that an event, a state or a word is of; None where it names none. Topics may be shared by profiles."""
    try:
        content = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict):
        return None
    data = content.get("data")
    named = content.get("profile") or (data.get("profile") if isinstance(data, dict) else None)
    return named if isinstance(named, str) else None


@dataclass(frozen=True, slots=True)
class Live:
    """A place of the present state that still holds the record. There should be none."""

    where: str
    what: str


Kind = Literal["messages", "older versions", "null values"]


@dataclass(frozen=True, slots=True)
class Retained:
    """Messages that a topic still holds, and will lose by itself."""

    topic: str
    what: Kind
    messages: int
    newest: str
    """UTC, of the newest of them."""
    gone_by: str | None
    """UTC, at the latest, if its timestamps are right; None where the topic's settings set no end."""
    because: str
    """The settings that say so."""


@dataclass(slots=True)
class Report:
    """What a scan found."""

    live: list[Live] = field(default_factory=list)
    retained: list[Retained] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)
    """Place → how many keys, messages or files were read: a scan that saw nothing proves nothing."""
    remembered: int = 0
    """Keyed digests of the id, by which late copies are recognised."""

    @property
    def clean(self) -> bool:
        return not self.live
