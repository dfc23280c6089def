"""How the clusters of a scope lie in Redis: the names of its keys, its values as bytes, an update as commands.

All keys of a scope carry one hash tag, hence live in one slot, under `<prefix>:{<profile>/<scope>}:`

    head               hash    epoch, seq (of the outbox), redo (puts ever), beliefs, whitening, applied:<partition> → offset
    records            hash    record → [topic, partition, offset, born_ms, quality]
    assignments        hash    record → cluster: the lookup that others may read
    clusters           hash    cluster → {version, founded_ms, exemplar} or {version, merged_into, retired: true}
    members:<cluster>  hash    record → [born_ms, quality]
    edges:<record>     hash    other record → the evidence between the two; each edge lies under both
    verdicts           hash    record → what people said of it, by the other record; each word lies under both
    redo               zset    records to judge again, in the order in which they were put
    outbox             zset    <seq>:<entry>, scored by seq, until the broker has it
    erased:<digest>    string  position of the erasure; expires, unless reingest is denied. The digest is keyed: the record's id is gone

and of a partition under `<prefix>:{<profile>}:` `epochs` (hash) and `scopes:<partition>` (set).
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgpack
import orjson

from consumer.records import (
    Cluster,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Position,
    RecordState,
    Retired,
    ScopeUpdate,
    Verdict,
)

FIELDS = 4_000
"""In one command of a script: Lua passes at most 8,000 arguments to a call."""
BELIEFS, WHITENING = "beliefs", "whitening"
"""Field of `head`."""


class Names:
    """The keys of one scope of one profile."""

    def __init__(self, prefix: str, profile: str, scope: str, key: bytes) -> None:
        # Quoted, so that no brace ends the hash tag early and no slash or colon makes two scopes one.
        self.root = f"{prefix}:{{{_quoted(profile)}/{_quoted(scope)}}}:"
        self._named = f"{profile}\0{scope}\0"
        self._key = key
        self.head = f"{self.root}head"
        self.outbox = f"{self.root}outbox"
        self.probe = f"{self.root}probe"
        self.records = f"{self.root}records"
        self.assignments = f"{self.root}assignments"
        self.clusters = f"{self.root}clusters"
        self.verdicts = f"{self.root}verdicts"
        self.redo = f"{self.root}redo"

    def members(self, cluster_id: str) -> str:
        return f"{self.root}members:{cluster_id}"

    def edges(self, record_id: str) -> str:
        return f"{self.root}edges:{record_id}"

    def erased(self, record_id: str) -> str:
        named = f"{self._named}{record_id}".encode()
        return f"{self.root}erased:{hashlib.blake2b(named, key=self._key, digest_size=16).hexdigest()}"


def partition_name(prefix: str, profile: str, *parts: str | int) -> str:
    """A key of a whole profile: `epochs`, or `scopes` of a partition."""
    return f"{prefix}:{{{_quoted(profile)}}}:{':'.join(map(str, parts))}"


def scopes_pattern(prefix: str, profile: str) -> str:
    """A glob for the keys of all scopes of a profile."""
    return f"{prefix}:{{{_quoted(profile)}/*"


class Writes:
    """An update as commands for a script: every key is declared once and named by its place from then on."""

    def __init__(self, names: Names, update: ScopeUpdate, erased_ttl_seconds: int | None) -> None:
        self.commands: list[list[Any]] = []
        self._places = {names.head: 1, names.outbox: 2, names.redo: 3}
        self._add_records(names, update)
        self._add_clusters(names, update)
        self._add_edges(names, update)
        said = {record: _verdicts_value(words) for record, words in update.verdicts.items() if words}
        self._put(names.verdicts, said)
        self._drop(names.verdicts, update.verdicts.keys() - said.keys())
        if update.beliefs is not None:
            self._add("HSET", names.head, BELIEFS, update.beliefs)
        if update.whitening is not None:
            self._add("HSET", names.head, WHITENING, update.whitening)
        for record_id, position in update.erased.items():
            expiry = () if erased_ttl_seconds is None else ("EX", erased_ttl_seconds)
            self._add("SET", names.erased(record_id), orjson.dumps(_flat(position)), *expiry)

    @property
    def keys(self) -> list[str]:
        """The head, the outbox and the redo queue, then every key of the commands."""
        return list(self._places)

    def _add_records(self, names: Names, update: ScopeUpdate) -> None:
        states = {
            record: orjson.dumps([*_flat(state.source), state.born_ms, state.quality])
            for record, state in update.records.items()
            if state is not None
        }
        self._put(names.records, states)
        self._drop(names.records, update.records.keys() - states.keys())
        assigned = {record: cid.encode() for record, cid in update.assignments.items() if cid is not None}
        self._put(names.assignments, assigned)
        self._drop(names.assignments, update.assignments.keys() - assigned.keys())

    def _add_clusters(self, names: Names, update: ScopeUpdate) -> None:
        entries: dict[str, bytes] = {}
        for cid, cluster in update.clusters.items():
            name = names.members(cid)
            if isinstance(cluster, Retired):
                ended = {"version": cluster.version, "merged_into": cluster.merged_into, "retired": True}
                entries[cid] = orjson.dumps(ended)
                self._add("DEL", name)
                continue
            live = {"version": cluster.version, "founded_ms": cluster.founded_ms, "exemplar": cluster.exemplar}
            entries[cid] = orjson.dumps(live)
            members = ((record, cluster.members[record]) for record in update.members_put.get(cid, ()))
            self._put(name, {record: orjson.dumps([m.born_ms, m.quality]) for record, m in members})
            self._drop(name, update.members_dropped.get(cid, ()))
        self._put(names.clusters, entries)

    def _add_edges(self, names: Names, update: ScopeUpdate) -> None:
        near: dict[str, dict[str, bytes]] = {}
        gone: dict[str, list[str]] = {}
        for edge in update.edges:
            value = _edge_value(edge)
            near.setdefault(edge.a, {})[edge.b] = value
            near.setdefault(edge.b, {})[edge.a] = value
        for a, b in update.edges_dropped:
            gone.setdefault(a, []).append(b)
            gone.setdefault(b, []).append(a)
        for record, values in near.items():
            self._put(names.edges(record), values)
        for record, others in gone.items():
            self._drop(names.edges(record), others)

    def _add(self, command: str, key: str, *args: Any) -> None:
        self.commands.append([command, self._places.setdefault(key, len(self._places) + 1), *args])

    def _put(self, key: str, values: Mapping[str, bytes]) -> None:
        flat = [part for pair in values.items() for part in pair]
        for start in range(0, len(flat), FIELDS):
            self._add("HSET", key, *flat[start : start + FIELDS])

    def _drop(self, key: str, fields: Collection[str]) -> None:
        ordered = sorted(fields)
        for start in range(0, len(ordered), FIELDS):
            self._add("HDEL", key, *ordered[start : start + FIELDS])


def entry_value(entry: OutboxEntry) -> bytes:
    return bytes(msgpack.packb((entry.stream, entry.key, entry.value, entry.offset)))


def outbox_entry(member: bytes) -> tuple[int, OutboxEntry]:
    sequence, _, entry = member.partition(b":")
    return int(sequence), OutboxEntry(*msgpack.unpackb(entry))


def position(value: bytes) -> Position:
    return Position(*orjson.loads(value))


def state(value: bytes) -> RecordState:
    *source, born_ms, quality = orjson.loads(value)
    return RecordState(Position(*source), born_ms, quality)


def cluster(cluster_id: str, value: bytes, flat_members: Sequence[bytes]) -> Cluster | Retired:
    fields = orjson.loads(value)
    if fields.get("retired"):
        return Retired(fields["version"], fields["merged_into"])
    pairs = zip(flat_members[::2], flat_members[1::2], strict=True)
    members = {record.decode(): Member(*orjson.loads(member)) for record, member in pairs}
    return Cluster(cluster_id, fields["version"], fields["founded_ms"], members, fields["exemplar"])


def edges(near: Iterable[tuple[str, Sequence[bytes]]]) -> dict[str, dict[str, Evidence]]:
    """The edges of records, each by the other record; each comes with fields and values by turns."""
    found: dict[str, dict[str, Evidence]] = {}
    for record_id, flat in near:
        found[record_id] = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            other = name.decode()
            # most lie under two of the records: what a search finds is near itself
            twin = found[other].get(record_id) if other in found else None
            found[record_id][other] = twin or _edge(record_id, other, value)
    return found


def verdicts(record_id: str, value: bytes) -> dict[str, Verdict]:
    """What was said of a record, by the other record."""
    found = {}
    for other, (says, by, said_ms, scope, source, ingested_ms) in orjson.loads(value).items():
        a, b = sorted((record_id, other))
        found[other] = Verdict(a, b, says, by, said_ms, scope, Position(*source), ingested_ms)
    return found


def _verdicts_value(words: Mapping[str, Verdict]) -> bytes:
    return orjson.dumps(
        {other: [v.says, v.by, v.said_ms, v.scope, _flat(v.source), v.ingested_ms] for other, v in words.items()}
    )


def _edge(record_id: str, other: str, value: bytes) -> Evidence:
    a, b = (record_id, other) if record_id < other else (other, record_id)
    towards_b, probability, duplicate, similarities, contributions, held = orjson.loads(value)
    return Evidence(a, b, Match(b if towards_b else a, probability, duplicate, similarities, contributions), held)


def _edge_value(edge: Evidence) -> bytes:
    # Neither id is repeated in it: the key and the field name them.
    match = edge.match
    similarities, contributions = dict(match.similarities), dict(match.contributions)
    values = [match.id == edge.b, match.probability, match.duplicate, similarities, contributions, edge.held]
    return orjson.dumps(values)


def _flat(position: Position) -> tuple[str, int, int]:
    return position.topic, position.partition, position.offset


def _quoted(name: str) -> str:
    return quote(name, safe="")
