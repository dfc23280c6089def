"""Clusters in Redis 6.2 or later, or in a Redis Cluster: one script writes a batch, fenced by the epoch.

What lies where is told in `redis_layout`. A scope's keys share a hash slot, so a batch is atomic on a cluster too.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import msgpack

from consumer.adapters import redis_layout as layout
from consumer.adapters.redis_connection import RedisConnection
from consumer.adapters.redis_scripts import ACKNOWLEDGE, APPLY, CLAIM, READ
from consumer.errors import FencedError, SettingsError, StoreError
from consumer.ports import Known, Neighbourhood, lost_writes, moved_scope
from consumer.records import Cluster, OutboxEntry, Position, RecordState, Retired, ScopeUpdate

_COMMANDS = 500
"""In one run of `READ`, which keeps others waiting. An even number: those of a cluster are two."""


class RedisClusters:
    """Implements `consumer.ports.ClusterStore`. Several processes may share a server, and several profiles a prefix.

    `key` (16 to 64 secret bytes) hides the ids of erased records, which are remembered for `erased_ttl_seconds`
    (None: without end).
    A call waits `timeout_seconds` for its answer, twice at most; see `RedisConnection` for `url`. It connects at the
    first call. Raises SettingsError for arguments that make no sense.

    An eviction policy other than `noeviction` may drop any of this: see `check`.
    """

    def __init__(
        self,
        url: str,
        *,
        profile: str,
        key: bytes,
        erased_ttl_seconds: int | None,
        prefix: str = "dedup",
        cluster: bool = False,
        timeout_seconds: float = 10.0,
    ) -> None:
        _check(prefix, key, erased_ttl_seconds)
        self._redis = RedisConnection(url, cluster=cluster, timeout_seconds=timeout_seconds)
        self._prefix = prefix
        self._profile = profile
        self._key = key
        self._erased_ttl_seconds = erased_ttl_seconds

    def take_epoch(self, partition: int) -> int:
        return int(self._redis.execute("HINCRBY", self._epochs_name(), partition, 1))

    def epochs(self, partitions: Sequence[int]) -> Mapping[int, int]:
        if not partitions:
            return {}
        newest = self._redis.execute("HMGET", self._epochs_name(), *partitions)
        return {partition: int(epoch or 0) for partition, epoch in zip(partitions, newest, strict=True)}

    def scopes(self, partition: int) -> Sequence[str]:
        return sorted(scope.decode() for scope in self._redis.execute("SMEMBERS", self._scopes_name(partition)))

    def applied(self, scope: str, partition: int) -> int:
        found = self._redis.execute("HGET", self._names(scope).head, f"applied:{partition}")
        return -1 if found is None else int(found)

    def claim(self, scope: str, partition: int, epoch: int) -> int:
        # Another slot, so another command, and first: a scope that is claimed but not listed would be lost from
        # sight, one that is listed and not claimed is merely empty.
        self._redis.execute("SADD", self._scopes_name(partition), scope)
        # Whoever takes the partition over lists its scopes after taking an epoch. So either it has done that before
        # the next line, which shows it, or it finds this scope in the list and claims it away.
        newest = int(self._redis.execute("HGET", self._epochs_name(), partition) or 0)
        if newest > epoch:
            _unfence(scope, epoch, b"fenced", str(newest).encode())
        names = self._names(scope)
        status, value = self._redis.run(CLAIM, [names.head, names.outbox, names.probe, names.redo], [epoch, partition])
        _unfence(scope, epoch, status, value)
        return int(value)

    def known(self, scope: str, records: Sequence[str]) -> Known:
        names = self._names(scope)
        records = list(dict.fromkeys(records))
        found, marks = self._ask(
            list(_lookup(names.records, records)), [("GET", names.erased(record)) for record in records]
        )
        (states,) = _found(found, records)
        return Known(_states(states), _erased(records, marks, states))

    def read(
        self,
        scope: str,
        records: Sequence[str],
        cluster_ids: Sequence[str] = (),
        *,
        edges: bool = False,
        beside: Sequence[str] = (),
        redo: int = 0,
    ) -> Neighbourhood:
        names = self._names(scope)
        records = list(dict.fromkeys(records))
        known, linked = [*records, *beside], records if edges else ()
        hashes, marks, near, queue = self._ask(
            [
                *_lookup(names.records, known),
                *_lookup(names.assignments, records),
                *_lookup(names.clusters, cluster_ids),
                *_lookup(names.verdicts, linked),
            ],
            [("GET", names.erased(record)) for record in records],
            [("HGETALL", names.edges(record)) for record in linked],
            [("ZRANGE", names.redo, "0", str(redo - 1)), ("ZCARD", names.redo)] if redo else [],
        )
        states, assigned, used, said = _found(hashes, known, records, cluster_ids, linked)
        assignments = {record: cid.decode() for record, cid in assigned.items()}
        clusters = self._live(scope, sorted(set(assignments.values())))
        asked = set(linked)
        others = list(dict.fromkeys(r for c in clusters.values() for r in c.members if edges and r not in asked))
        near_others, words = self._ask(
            [("HGETALL", names.edges(record)) for record in others], list(_lookup(names.verdicts, others))
        )
        said |= _there(others, chain.from_iterable(words))
        return Neighbourhood(
            records=_states(states),
            assignments=assignments,
            erased=_erased(records, marks, states),
            clusters=clusters,
            edges=layout.edges(zip((*linked, *others), (*near, *near_others), strict=True)),
            free=set(cluster_ids) - used.keys(),
            verdicts={record: layout.verdicts(record, value) for record, value in said.items()},
            redo=[record.decode() for record in queue[0]] if redo else [],
            waiting=int(queue[1]) if redo else 0,
        )

    def beliefs(self, scope: str) -> tuple[bytes | None, bytes | None]:
        beliefs, whitening = self._redis.execute("HMGET", self._names(scope).head, layout.BELIEFS, layout.WHITENING)
        return beliefs, whitening

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        writes = layout.Writes(self._names(scope), update, self._erased_ttl_seconds)
        entries = [layout.entry_value(entry) for entry in update.outbox]
        parts = writes.commands, entries, list(update.redo_dropped), list(update.redo_put)
        packed = [_packed(part) for part in parts]
        expected = "" if after is None else after
        status, *value = self._redis.run(APPLY, writes.keys, [epoch, partition, offset, *packed, expected])
        _unfence(scope, epoch, status, *value)
        if status == b"behind" and after is not None:
            raise lost_writes(scope, int(value[0]), after)
        return bool(status == b"applied")

    def outbox(self, scope: str) -> Sequence[tuple[int, OutboxEntry]]:
        return [layout.outbox_entry(m) for m in self._redis.execute("ZRANGE", self._names(scope).outbox, 0, -1)]

    def acknowledge(self, scope: str, epoch: int, sequence: int) -> None:
        names = self._names(scope)
        status, *value = self._redis.run(ACKNOWLEDGE, [names.head, names.outbox], [epoch, sequence])
        _unfence(scope, epoch, status, *value)

    def clusters(self, scope: str, cluster_ids: Sequence[str]) -> Mapping[str, Cluster | Retired]:
        if not cluster_ids:
            return {}
        names = self._names(scope)
        (replies,) = self._ask(
            [c for cid in cluster_ids for c in (("HGET", names.clusters, cid), ("HGETALL", names.members(cid)))]
        )
        found = zip(cluster_ids, replies[::2], replies[1::2], strict=True)
        return {cid: layout.cluster(cid, value, members) for cid, value, members in found if value is not None}

    def assignment(self, scope: str, record_id: str) -> str | None:
        cid = self._redis.execute("HGET", self._names(scope).assignments, record_id)
        return None if cid is None else str(cid, "utf-8")

    def check(self) -> Mapping[str, Any]:
        """Facts a person should see before trusting a server with this. Raises StoreError when it does not answer.

        version, mode (standalone, sentinel or cluster), role, aof (bool), appendfsync and save (None where the
        server does not tell), maxmemory (bytes, 0 for no limit), maxmemory_policy, used_memory (bytes).
        """
        info = self._redis.info()
        return {
            "address": self._redis.address,
            "version": info.get("redis_version"),
            "mode": info.get("redis_mode"),
            "role": info.get("role"),
            "aof": bool(info.get("aof_enabled")),
            "appendfsync": info.get("appendfsync"),
            "save": info.get("save"),
            "maxmemory": info.get("maxmemory"),
            "maxmemory_policy": info.get("maxmemory_policy"),
            "used_memory": info.get("used_memory"),
        }

    def close(self) -> None:
        self._redis.close()

    def _names(self, scope: str) -> layout.Names:
        return layout.Names(self._prefix, self._profile, scope, self._key)

    def _epochs_name(self) -> str:
        return layout.partition_name(self._prefix, self._profile, "epochs")

    def _scopes_name(self, partition: int) -> str:
        return layout.partition_name(self._prefix, self._profile, "scopes", partition)

    def _live(self, scope: str, cluster_ids: Sequence[str]) -> dict[str, Cluster]:
        """Clusters that records were just said to be in. Raises StoreError when one of them is not live."""
        found = self.clusters(scope, cluster_ids)
        live = {cid: cluster for cid, cluster in found.items() if isinstance(cluster, Cluster)}
        if len(live) < len(cluster_ids):
            raise StoreError(
                f"Redis at {self._redis.address}: scope {scope!r} changed while it was read, so another matcher owns "
                "it by now; if no other one runs, keys were lost: see maxmemory-policy, then rebuild the scope"
            )
        return live

    def _ask(self, *groups: Sequence[tuple[str, ...]]) -> list[list[Any]]:
        """Per group of commands that read (a name, a key of the scope, fields), the replies: one round trip.

        A hash comes as its fields and values by turns.
        """
        commands = list(chain.from_iterable(groups))
        replies: list[Any] = []
        for start in range(0, len(commands), _COMMANDS):
            places: dict[str, int] = {}
            asked = [
                (name, places.setdefault(key, len(places) + 1), *fields)
                for name, key, *fields in commands[start : start + _COMMANDS]
            ]
            replies += self._redis.run(READ, list(places), [_packed(asked)])
        left = iter(replies)
        return [list(islice(left, len(group))) for group in groups]


def _packed(part: Any) -> bytes:
    # Redis' cmsgpack knows the older format only, in which text and bytes are one type.
    return bytes(msgpack.packb(part, use_bin_type=False))


def _lookup(name: str, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Commands that read fields of a hash."""
    return (("HMGET", name, *chunk) for chunk in _chunks(fields))


def _found(replies: Sequence[Any], *wanted: Sequence[str]) -> list[dict[str, bytes]]:
    """For each list of fields, those that its lookup found."""
    left = chain.from_iterable(replies)
    return [_there(fields, islice(left, len(fields))) for fields in wanted]


def _states(found: Mapping[str, bytes]) -> dict[str, RecordState]:
    return {record: layout.state(value) for record, value in found.items()}


def _erased(records: Sequence[str], marks: Sequence[bytes | None], there: Collection[str]) -> dict[str, Position]:
    """Positions of the marks; of a record that is there none counts."""
    return {r: layout.position(mark) for r, mark in _there(records, marks).items() if r not in there}


def _there(names: Sequence[str], values: Iterable[bytes | None]) -> dict[str, bytes]:
    """The values that there are, by name."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _unfence(scope: str, epoch: int, status: bytes, value: bytes = b"") -> None:
    if status == b"elsewhere":
        raise moved_scope(scope, int(value))
    if status == b"fenced":
        raise FencedError(
            f"scope {scope!r} belongs to epoch {value.decode()}, this matcher holds epoch {epoch}: another matcher "
            "took the partition over; drop what is held of it"
        )


def _chunks(fields: Sequence[str]) -> Iterator[Sequence[str]]:
    """Lua passes at most 8,000 arguments to a call."""
    return (fields[start : start + layout.FIELDS] for start in range(0, len(fields), layout.FIELDS))


def _check(prefix: str, key: bytes, erased_ttl_seconds: int | None) -> None:
    faults = []
    if not re.fullmatch(r"[^{}\s]+", prefix):
        faults.append(f"prefix: {prefix!r} must not be empty nor hold braces or spaces")
    if not 16 <= len(key) <= 64:
        faults.append(f"key: {len(key)} bytes; use 16 to 64 random bytes")
    if erased_ttl_seconds is not None and erased_ttl_seconds < 1:
        faults.append(f"erased_ttl_seconds: {erased_ttl_seconds}; use 1 or more")
    if faults:
        raise SettingsError("Redis cluster store:\n" + "\n".join(faults))
