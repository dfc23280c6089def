"""The wire form of the `vectors` topic: MessagePack, read and written only here.

A value is a map: `v` format version, `scope`, `fp` fingerprint, `src` [topic, partition, offset], `in` and `born`
milliseconds, `q` quality, `mask` modality bits, `vec` little-endian float16. The key is the record id. A null value
erases; as it has no body, the position and time of the message that asked for it travel in headers.
"""

import math
import re
from typing import Any

import msgpack
import numpy as np

from consumer.decode import LAST_MS, SCOPE, decode_id
from consumer.errors import RejectedError
from consumer.records import Erasure, Message, Outgoing, Position, Vector

FORMAT = 1
SOURCE_HEADER = "dedup-source"
INGESTED_HEADER = "dedup-ingested-ms"
_DIGEST = re.compile(r"[0-9a-f]{1,32}")
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
    source = erasure.source
    headers = {
        SOURCE_HEADER: f"{source.topic}/{source.partition}/{source.offset}".encode(),
        INGESTED_HEADER: str(erasure.ingested_ms).encode(),
    }
    return Outgoing(topic, erasure.id.encode(), None, headers, partition, erasure.ingested_ms)


def unpack(message: Message, fingerprint: str, dim: int) -> Vector | Erasure:
    """What a vectors message holds. Raises RejectedError when it is not ours or of other models."""
    record_id = decode_id(message.key)
    try:
        if message.value is None:
            return _unpack_erasure(record_id, message)
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


def _unpack_erasure(record_id: str, message: Message) -> Erasure:
    source = _position(*message.headers[SOURCE_HEADER].decode().rsplit("/", 2))
    return Erasure(record_id, source, _within(int(message.headers[INGESTED_HEADER]), 0, LAST_MS))


# What passes here is stored and printed in events; a number that no store or clock can hold would stop the matcher.


def _position(topic: Any, partition: Any, offset: Any) -> Position:
    return Position(str(topic), _within(int(partition), 0, _INT64), _within(int(offset), 0, _INT64))


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
