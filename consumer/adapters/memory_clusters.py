"""Clusters in dictionaries, for `dedup batch` and tests: the same contract as Redis, nothing survives the process."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from consumer.errors import FencedError
from consumer.ports import Known, Neighbourhood, lost_writes, moved_scope
from consumer.records import (
    Cluster,
    Evidence,
    Member,
    OutboxEntry,
    Position,
    RecordState,
    Retired,
    ScopeUpdate,
    Verdict,
)
from consumer.recovery.contents import Contents

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Scope:
    epoch: int = 0
    sequence: int = 0
    applied: dict[int, int] = field(default_factory=dict)
    records: dict[str, RecordState] = field(default_factory=dict)
    assignments: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, Cluster | Retired] = field(default_factory=dict)
    """Of a live cluster everything but its members, which change one by one."""
    members: dict[str, dict[str, Member]] = field(default_factory=dict)
    edges: dict[str, dict[str, Evidence]] = field(default_factory=dict)
    erased: dict[str, tuple[Position, float]] = field(default_factory=dict)
    """Record → position and the time it is forgotten, soonest first."""
    outbox: dict[int, OutboxEntry] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    redo: dict[str, None] = field(default_factory=dict)
    """In the order in which they were put."""
    beliefs: bytes | None = None
    whitening: bytes | None = None


class MemoryClusters:
    """Implements `consumer.ports.ClusterStore` for one thread of one process.

    What goes in is copied; what comes out can be kept, for no part of it is ever changed here. Erased records are
    remembered for `erased_ttl_seconds` of `clock`.
    """

    def __init__(self, *, erased_ttl_seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._erased_ttl_seconds = erased_ttl_seconds
        self._clock = clock
        self._epochs: dict[int, int] = {}
        self._partitions: dict[int, set[str]] = {}
        self._scopes: dict[str, _Scope] = {}

    def take_epoch(self, partition: int) -> int:
        self._epochs[partition] = self._epochs.get(partition, 0) + 1
        return self._epochs[partition]

    def epochs(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return {partition: self._epochs.get(partition, 0) for partition in partitions}

    def scopes(self, partition: int) -> Sequence[str]:
        return sorted(self._partitions.get(partition, ()))

    def applied(self, scope: str, partition: int) -> int:
        return self._scopes.get(scope, _Scope()).applied.get(partition, -1)

    def claim(self, scope: str, partition: int, epoch: int) -> int:
        self._partitions.setdefault(partition, set()).add(scope)
        held = self._scopes.setdefault(scope, _Scope())
        if (newest := max(held.epoch, self._epochs.get(partition, 0))) > epoch:
            raise _fenced(scope, newest, epoch)
        for other in held.applied.keys() - {partition}:
            raise moved_scope(scope, other)
        held.epoch = epoch
        return held.applied.get(partition, -1)

    def known(self, scope: str, records: Sequence[str]) -> Known:
        held = self._scopes.get(scope, _Scope())
        now = self._clock()
        states = {r: state for r in records if (state := held.records.get(r)) is not None}
        marks = ((r, held.erased.get(r)) for r in records if r not in states)
        return Known(states, {r: mark[0] for r, mark in marks if mark is not None and mark[1] > now})

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
        held = self._scopes.get(scope, _Scope())
        known = self.known(scope, records)
        assignments = {r: cid for r in records if (cid := held.assignments.get(r)) is not None}
        found = {cid: _whole(held, cid) for cid in sorted(set(assignments.values()))}
        clusters = {cid: cluster for cid, cluster in found.items() if isinstance(cluster, Cluster)}
        asked = dict.fromkeys(records) | dict.fromkeys(r for cluster in clusters.values() for r in cluster.members)
        return Neighbourhood(
            records={**known.records, **{r: state for r in beside if (state := held.records.get(r)) is not None}},
            assignments=assignments,
            erased=dict(known.erased),
            clusters=clusters,
            edges={r: _near(held, r) for r in asked} if edges else {},
            free={cid for cid in cluster_ids if cid not in held.clusters},
            verdicts={r: dict(said) for r in asked if (said := held.verdicts.get(r))} if edges else {},
            redo=list(islice(held.redo, redo)),
            waiting=len(held.redo) if redo else 0,
        )

    def beliefs(self, scope: str) -> tuple[bytes | None, bytes | None]:
        held = self._scopes.get(scope, _Scope())
        return held.beliefs, held.whitening

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        held = self._owned(scope, epoch)
        last = held.applied.get(partition, -1)
        if last >= offset:
            return False
        if after is not None and last != after:
            raise lost_writes(scope, last, after)
        _patch(held.records, update.records)
        _patch(held.assignments, update.assignments)
        _write_clusters(held, update)
        _write_edges(held, update)
        _patch(held.verdicts, {r: dict(said) or None for r, said in update.verdicts.items()})
        if update.beliefs is not None:
            held.beliefs = update.beliefs
        if update.whitening is not None:
            held.whitening = update.whitening
        for record_id in update.redo_dropped:
            held.redo.pop(record_id, None)
        held.redo.update((r, None) for r in update.redo_put if r not in held.redo)
        self._remember(held, update.erased)
        for entry in update.outbox:
            held.sequence += 1
            held.outbox[held.sequence] = entry
        held.applied[partition] = offset
        return True

    def outbox(self, scope: str) -> Sequence[tuple[int, OutboxEntry]]:
        return list(self._scopes.get(scope, _Scope()).outbox.items())

    def acknowledge(self, scope: str, epoch: int, sequence: int) -> None:
        outbox = self._owned(scope, epoch).outbox
        for number in [n for n in outbox if n <= sequence]:
            del outbox[number]

    def clusters(self, scope: str, cluster_ids: Sequence[str]) -> Mapping[str, Cluster | Retired]:
        held = self._scopes.get(scope, _Scope())
        return {cid: _whole(held, cid) for cid in cluster_ids if cid in held.clusters}

    def assignment(self, scope: str, record_id: str) -> str | None:
        return self._scopes.get(scope, _Scope()).assignments.get(record_id)

    def contents(self, partition: int) -> Mapping[str, Contents]:
        """Everything of its scopes; not copied, so nothing of it may be changed while this store is in use."""
        return {scope: _contents(self._scopes.get(scope, _Scope())) for scope in self.scopes(partition)}

    def mark(self, scope: str) -> object:
        held = self._scopes.get(scope, _Scope())
        return dict(held.applied), held.sequence, len(held.outbox), len(held.redo)

    def _owned(self, scope: str, epoch: int) -> _Scope:
        held = self._scopes.get(scope, _Scope())
        if held.epoch != epoch:
            raise _fenced(scope, held.epoch, epoch)
        return held

    def _remember(self, held: _Scope, erased: Mapping[str, Position]) -> None:
        now = self._clock()
        while held.erased and next(iter(held.erased.values()))[1] <= now:
            del held.erased[next(iter(held.erased))]
        for record_id, position in erased.items():
            held.erased.pop(record_id, None)  # again at the end, the last to be forgotten
            held.erased[record_id] = position, now + self._erased_ttl_seconds


def _patch(held: dict[str, _Value], changes: Mapping[str, _Value | None]) -> None:
    for name, value in changes.items():
        if value is None:
            held.pop(name, None)
        else:
            held[name] = value


def _write_clusters(held: _Scope, update: ScopeUpdate) -> None:
    for cid, cluster in update.clusters.items():
        if isinstance(cluster, Retired):
            held.clusters[cid] = cluster
            held.members.pop(cid, None)
            continue
        held.clusters[cid] = replace(cluster, members={})
        members = held.members.setdefault(cid, {})
        members.update((r, cluster.members[r]) for r in update.members_put.get(cid, ()))
        for record_id in update.members_dropped.get(cid, ()):
            members.pop(record_id, None)


def _write_edges(held: _Scope, update: ScopeUpdate) -> None:
    for edge in update.edges:
        copy = _copied(edge)
        held.edges.setdefault(edge.a, {})[edge.b] = copy
        held.edges.setdefault(edge.b, {})[edge.a] = copy
    for a, b in update.edges_dropped:
        for record_id, other in ((a, b), (b, a)):
            near = held.edges.get(record_id, {})
            near.pop(other, None)
            if not near:
                held.edges.pop(record_id, None)


def _contents(held: _Scope) -> Contents:
    return Contents(
        applied=held.applied,
        records=held.records,
        assignments=held.assignments,
        clusters={cid: _whole(held, cid) for cid in held.clusters},
        edges=held.edges,
        verdicts=held.verdicts,
        redo=list(held.redo),
        outbox=list(held.outbox.values()),
        beliefs=held.beliefs,
        whitening=held.whitening,
        erased={record_id: position for record_id, (position, _) in held.erased.items()},
    )


def _whole(held: _Scope, cid: str) -> Cluster | Retired:
    cluster = held.clusters[cid]
    return cluster if isinstance(cluster, Retired) else replace(cluster, members=dict(held.members[cid]))


def _near(held: _Scope, record_id: str) -> dict[str, Evidence]:
    return dict(held.edges.get(record_id, {}))


def _copied(edge: Evidence) -> Evidence:
    match = edge.match
    similarities, contributions = dict(match.similarities), dict(match.contributions)
    return replace(edge, match=replace(match, similarities=similarities, contributions=contributions))


def _fenced(scope: str, held: int, epoch: int) -> FencedError:
    return FencedError(
        f"scope {scope!r} belongs to epoch {held}, this matcher holds epoch {epoch}: another matcher took the "
        "partition over; drop what is held of it"
    )
