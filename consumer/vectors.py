"""The wire form of the `vectors` topic: MessagePack, read and written only here.

A value is a map: `v` format version, `scope`, `fp` fingerprint, `src` [topic, partition, offset], `in` and `born`
milliseconds, `q` quality, `mask` modality bits, `vec` little-endian float16. The key is the record id. A null value
erases; as it has no body, the position and time of the message that asked for it travel in headers.

What a person says of a pair travels here too, so that a rebuild obeys it again. Its key is the byte 255, which begins no
record id, and MessagePack [scope, a, b]: compaction keeps the last word on a pair. Its value is a map: `v`, `says`,
`by`, `at` milliseconds, `src`, `in`. A null value, which the matcher sends, ends a word with one of its records; headers say which.

A null value under the byte 254 and the name of a scope is a tick: it makes the matcher work off the scope's redo queue.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

import msgpack
import numpy as np

from consumer.decode import LAST_MS, SCOPE, decode_id
from consumer.errors import RejectedError
from consumer.feedback import MAX_BY_CHARS
from consumer.records import Erasure, Message, OutboxEntry, Outgoing, Position, Saying, Tick, Vector, Verdict

FORMAT = 1
SOURCE_HEADER = "dedup-source"
INGESTED_HEADER = "dedup-ingested-ms"
_DIGEST = re.compile(r"[0-9a-f]{1,32}")
_VERDICT_KEY = b"\xff"
_TICK_KEY = b"\xfe"
_SAYINGS: tuple[Saying, ...] = get_args(Saying)
_INT64 = 2**63 - 1
_MASK = 2**32 - 1


def pack_vector(vector: Vector, topic: str, partition: int) -> Outgoing:
    """The message that carries a vector; its timestamp is that of the input, so latency can be read anywhere."""
    body = {
        "v": FORMAT,
        "scope": vector.scope,
        "fp": vector.fingerprint,
        "src": [vector.source.topic, vector.source.partition, vector.source.offset],
        "in": vector.ingested_ms,
        "born": vector.born_ms,
        "q": vector.quality,
        "mask": vector.mask,
        "vec": vector.values.astype("<f2", copy=False).tobytes(),
    }
    return Outgoing(topic, vector.id.encode(), msgpack.packb(body), {}, partition, vector.ingested_ms)


def pack_erasure(erasure: Erasure, topic: str, partition: int) -> Outgoing:
    """The tombstone that carries an erasure."""
    headers = _headers(erasure.source, erasure.ingested_ms)
    return Outgoing(topic, erasure.id.encode(), None, headers, partition, erasure.ingested_ms)


def pack_verdict(verdict: Verdict, topic: str, partition: int) -> Outgoing:
    """The message that carries a verdict; one that nobody gave, a null value that says which word ended."""
    source = verdict.source
    key = _VERDICT_KEY + bytes(msgpack.packb([verdict.scope, verdict.a, verdict.b]))
    if not verdict.by:
        return Outgoing(topic, key, None, _headers(source, verdict.ingested_ms), partition, verdict.ingested_ms)
    body = {
        "v": FORMAT,
        "says": verdict.says,
        "by": verdict.by,
        "at": verdict.said_ms,
        "src": [source.topic, source.partition, source.offset],
        "in": verdict.ingested_ms,
    }
    return Outgoing(topic, key, msgpack.packb(body), {}, partition, verdict.ingested_ms)


def word_entry(verdict: Verdict, offset: int) -> OutboxEntry:
    """The message that carries a verdict, for the outbox of the matcher; `offset` is of the row that it follows from."""
    return _entry(pack_verdict(verdict, "", 0), offset)


def erasure_entry(erasure: Erasure, offset: int) -> OutboxEntry:
    """The null value by which the topic loses a record, for the outbox of the matcher; `offset` as in `word_entry`."""
    return _entry(pack_erasure(erasure, "", 0), offset)


def vector_entry(vector: Vector, offset: int) -> OutboxEntry:
    """The message that carries a vector, for the outbox of the matcher; `offset` as in `word_entry`."""
    return _entry(pack_vector(vector, "", 0), offset)


def word_message(entry: OutboxEntry, topic: str, partition: int) -> Outgoing:
    """The message that an outbox entry holds."""
    key, value, headers, timestamp_ms = msgpack.unpackb(entry.value)
    return Outgoing(topic, key, value, headers, partition, timestamp_ms)


def tick_message(scope: str, topic: str, partition: int) -> Outgoing:
    """The message that is a tick; compaction drops all but the last, and that one after a while."""
    return Outgoing(topic, _TICK_KEY + scope.encode(), None, {}, partition)


def is_word(key: bytes) -> bool:
    """Whether a message of that key is what a person says, or the end of that."""
    return key.startswith(_VERDICT_KEY)


def unpack(message: Message, fingerprint: str, dim: int) -> Vector | Erasure | Verdict | Tick:
    """What a vectors message holds. Raises RejectedError when it is not ours or of other models."""
    if message.key is not None and message.key.startswith(_TICK_KEY):
        return _unpack_tick(message.key, message)
    if message.key is not None and message.key.startswith(_VERDICT_KEY):
        return _unpack_verdict(message.key, message)
    record_id = decode_id(message.key)
    try:
        if message.value is None:
            return Erasure(record_id, *_read_headers(message.headers))
        body = msgpack.unpackb(message.value)
        if body["v"] != FORMAT:
            raise RejectedError(f"not of vector format {FORMAT}, which this version reads")
        if body["fp"] != fingerprint:
            models = body["fp"] if _DIGEST.fullmatch(body["fp"]) else "an unknown kind"
            raise RejectedError(f"vector of models {models}, this matcher runs {fingerprint}")
        values = np.frombuffer(body["vec"], dtype="<f2")
        if values.shape != (dim,) or not np.isfinite(values).all():
            raise RejectedError(f"vector of {len(values)} numbers, {dim} finite ones are wanted")
        return Vector(
            id=record_id,
            scope=_scope(body["scope"]),
            fingerprint=fingerprint,
            source=_position(*body["src"]),
            ingested_ms=_within(int(body["in"]), 0, LAST_MS),
            born_ms=_within(int(body["born"]), -LAST_MS, LAST_MS),
            quality=_quality(body["q"]),
            mask=_within(int(body["mask"]), 0, _MASK),
            values=values,
        )
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, msgpack.UnpackException) as error:
        raise RejectedError(f"not a vector: {type(error).__name__}") from None


def _entry(sent: Outgoing, offset: int) -> OutboxEntry:
    value = msgpack.packb([sent.key, sent.value, dict(sent.headers), sent.timestamp_ms])
    return OutboxEntry("words", "", value, offset)


def _headers(source: Position, ingested_ms: int) -> dict[str, bytes]:
    """Those of a null value."""
    return {SOURCE_HEADER: str(source).encode(), INGESTED_HEADER: str(ingested_ms).encode()}


def _read_headers(headers: Mapping[str, bytes]) -> tuple[Position, int]:
    source = _position(*headers[SOURCE_HEADER].decode().rsplit("/", 2))
    return source, _within(int(headers[INGESTED_HEADER]), 0, LAST_MS)


def _unpack_tick(key: bytes, message: Message) -> Tick:
    if message.value is not None:
        raise RejectedError("not a tick: it has a value")
    try:
        return Tick(_scope(key[len(_TICK_KEY) :].decode()), message.position, _within(message.timestamp_ms, 0, LAST_MS))
    except ValueError:
        raise RejectedError("not a tick") from None


def _unpack_verdict(key: bytes, message: Message) -> Verdict:
    try:
        scope, a, b = msgpack.unpackb(key[len(_VERDICT_KEY) :])
        _check_pair(a, b)
        if message.value is None:
            source, ingested_ms = _read_headers(message.headers)
            return Verdict(a, b, "undecided", "", ingested_ms, _scope(scope), source, ingested_ms)
        body = msgpack.unpackb(message.value)
        if body["v"] != FORMAT:
            raise RejectedError(f"not of verdict format {FORMAT}, which this version reads")
        return Verdict(
            a=a,
            b=b,
            says=_saying(body["says"]),
            by=_name(body["by"]),
            said_ms=_within(int(body["at"]), 0, LAST_MS),
            scope=_scope(scope),
            source=_position(*body["src"]),
            ingested_ms=_within(int(body["in"]), 0, LAST_MS),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, msgpack.UnpackException) as error:
        raise RejectedError(f"not a verdict: {type(error).__name__}") from None


# What passes here is stored and printed in events; a number that no store or clock can hold would stop the matcher.


def _position(topic: Any, partition: Any, offset: Any) -> Position:
    return Position(str(topic), _within(int(partition), 0, _INT64), _within(int(offset), 0, _INT64))


def _check_pair(a: str, b: str) -> None:
    if not decode_id(a.encode()) < decode_id(b.encode()):
        raise ValueError("not a pair")


def _saying(value: Any) -> Saying:
    for saying in _SAYINGS:
        if value == saying:
            return saying
    raise ValueError("not a verdict")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_BY_CHARS:
        raise ValueError("not a name")
    return value


def _scope(name: str) -> str:
    if not SCOPE.fullmatch(name):
        raise ValueError("not a scope")
    return name


def _quality(value: Any) -> float:
    quality = float(value)
    if not (math.isfinite(quality) and 0 <= quality <= 1):
        raise ValueError("not a quality")
    return quality


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError("out of range")
    return number
