"""Every key of a profile in Redis, looked through for a record: a proof may not trust that the layout was kept to."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from consumer.adapters import redis_layout as layout
from consumer.adapters.redis_connection import RedisConnection
from consumer.erasure.residue import Live, Report, Traces

_AT_ONCE = 500
_WITHOUT_RECORDS = ("head", "epochs", "scopes", "rebuild", "probe")
_FIELDS = ("records", "assignments", "members", "edges", "verdicts", "clusters")


class RedisResidue:
    """Looks; its user needs SCAN beside what the service needs. Calls raise StoreError."""

    def __init__(self, redis: RedisConnection, *, profile: str, prefix: str) -> None:
        self._redis = redis
        self._profile = profile
        self._prefix = prefix

    def look(self, traces: Traces, report: Report, erased: frozenset[str]) -> None:
        """Note what holds the record. `erased` are the names of the keys that remember its erasure."""
        report.looked_at["redis"] = 0
        for keys in self._keys():
            report.looked_at["redis"] += len(keys)
            report.remembered += sum(key in erased for key in keys)
            report.live += self._in_names_and_fields(keys, traces)
            for key in keys:
                kind, _ = _kind(key)
                if kind not in ("records", "assignments", "members", "edges", "erased", *_WITHOUT_RECORDS):
                    report.live += self._in_values(key, kind, traces)

    def close(self) -> None:
        self._redis.close()

    def _keys(self) -> Iterator[list[str]]:
        patterns = (
            layout.scopes_pattern(self._prefix, self._profile),
            layout.partition_name(self._prefix, self._profile, "*"),
        )
        chunk: list[str] = []
        for key in (key for pattern in patterns for key in self._redis.scan(pattern)):
            chunk.append(key.decode(errors="surrogateescape"))
            if len(chunk) == _AT_ONCE:
                yield chunk
                chunk = []
        yield chunk

    def _in_names_and_fields(self, keys: Sequence[str], traces: Traces) -> Iterator[Live]:
        kinds = [_kind(key) for key in keys]
        for kind, rest in kinds:
            if kind == "edges" and rest == traces.id:
                yield Live("redis edges", "evidence of the record is kept")
        hashes = [(key, kind) for key, (kind, _) in zip(keys, kinds, strict=True) if kind in _FIELDS]
        there = self._redis.pipeline([("HEXISTS", key, traces.id) for key, _ in hashes])
        for (_, kind), found in zip(hashes, there, strict=True):
            if found:
                yield Live(f"redis {kind}", "the record is a field of it")

    def _in_values(self, key: str, kind: str, traces: Traces) -> Iterator[Live]:
        """What the values of a key tell; of kinds that this version does not know too."""
        form = self._redis.execute("TYPE", key).decode()
        if any(
            traces.in_text(text) if isinstance(text, str) else traces.in_bytes(text) for text in self._texts(key, form)
        ):
            yield Live(f"redis {kind}", "a value of it names the record")

    def _texts(self, key: str, form: str) -> Iterator[str | bytes]:
        if form == "hash":
            for name, value in self._pairs("HSCAN", key):
                yield from (name.decode(errors="replace"), value)
        elif form == "zset":
            for member, _ in self._pairs("ZSCAN", key):
                yield from _outbox(member) if key.endswith(":outbox") else (member.decode(errors="replace"),)
        elif form == "set":
            yield from (m.decode(errors="replace") for m in self._redis.execute("SMEMBERS", key))
        elif form == "string":
            yield self._redis.execute("GET", key) or b""

    def _pairs(self, command: str, key: str) -> Iterator[tuple[bytes, Any]]:
        cursor: Any = 0
        while True:
            cursor, found = self._redis.execute(command, key, cursor, "COUNT", 2 * _AT_ONCE)
            yield from found.items() if isinstance(found, dict) else found
            if not int(cursor):
                return


def _kind(key: str) -> tuple[str, str]:
    """What a key is, and what it is of: `edges:<record>` → edges, <record>."""
    kind, _, rest = key.partition("}:")[2].partition(":")
    return kind, rest


def _outbox(member: bytes) -> Iterator[str | bytes]:
    """What an entry that waits to be sent holds: its key, and the message."""
    try:
        parts = msgpack.unpackb(member.partition(b":")[2])
    except (ValueError, msgpack.UnpackException):
        yield member
        return
    for part in parts[1:] if isinstance(parts, list) else [parts]:
        if isinstance(part, str | bytes):
            yield part
