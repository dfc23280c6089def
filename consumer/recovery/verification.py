"""The comparisons of `dedup verify`: what a store holds beside itself, what was told, and the vectors topic."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from consumer.ports import VectorIndex
from consumer.records import Cluster
from consumer.recovery.contents import Contents
from consumer.recovery.present import Present, numbers_digest
from consumer.recovery.told import Told, ToldCluster

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """Something that two of them do not say alike."""

    kind: str
    scope: str
    subject: str
    """A cluster, a record, or a pair."""
    detail: str = ""


KINDS: Mapping[str, str] = {
    "assignment": "Redis: a record is assigned to a cluster whose members it is not among, or the other way about",
    "cluster": "Redis: a cluster with fewer than two members, or whose record to keep is none of them",
    "member": "Redis: a member of a cluster is no record",
    "edge": "Redis: evidence is under one of its records only, or under what is no record",
    "word": "Redis: what a person said is under one of its records only",
    "stray": "Redis: a key that belongs to no live cluster",
    "told_nothing": "a cluster is in Redis, and the topics tell nothing of it",
    "told_only": "the topics tell of a cluster that Redis does not know",
    "told_otherwise": "topics and Redis tell different things of a cluster",
    "state_behind_events": "the compacted topic and the events tell different versions of a cluster",
    "event_gap": "a version of a cluster is missing among the events",
    "event_repeated": "an event is there twice",
    "event_rewritten": "an event id is there twice with different content",
    "vector_without_record": "a vector that was decided on is no record in Redis",
    "record_without_vector": "a record in Redis has no vector in the topic",
    "record_of_another_message": "a record in Redis is not the one that the topic has",
    "applied_behind": "Redis is behind the group's committed offset: it went back in time",
    "snapshot": "the index in the snapshot is not the one that the topic makes",
}
"""What each kind of difference means."""


def inner(scope: str, held: Contents) -> Iterator[Difference]:
    """A store beside itself."""
    assigned = {(r, cid) for r, cid in held.assignments.items()}
    members = {(r, cid) for cid, c in held.live.items() for r in c.members}
    for record_id, cid in assigned ^ members:
        yield Difference("assignment", scope, record_id, f"cluster {cid}")
    for cid, cluster in held.live.items():
        if len(cluster.members) < 2:
            yield Difference("cluster", scope, cid, f"{len(cluster.members)} members")
        if cluster.exemplar not in cluster.members:
            yield Difference("cluster", scope, cid, "the record to keep is no member")
        for record_id in cluster.members.keys() - held.records.keys():
            yield Difference("member", scope, record_id, f"cluster {cid}")
    for key in held.strays:
        yield Difference("stray", scope, key)
    yield from _pairs(scope, held)


def _pairs(scope: str, held: Contents) -> Iterator[Difference]:
    for record_id, near in held.edges.items():
        for other, edge in near.items():
            if held.edges.get(other, {}).get(record_id) != edge or record_id not in held.records:
                yield Difference("edge", scope, record_id, other)
    for record_id, said in held.verdicts.items():
        for other, word in said.items():
            if held.verdicts.get(other, {}).get(record_id) != word:
                yield Difference("word", scope, record_id, other)


def beside_told(scope: str, held: Contents, told: Mapping[str, ToldCluster]) -> Iterator[Difference]:
    """A store beside what was told; what waits in its outbox is not told yet."""
    pending = {entry.key for entry in held.outbox if entry.stream == "events"}
    for cid, cluster in held.clusters.items():
        if cid in pending:
            continue
        said = told.get(cid)
        if said is None:
            if isinstance(cluster, Cluster) or cluster.merged_into is not None:
                yield Difference("told_nothing", scope, cid, f"version {cluster.version}")
            continue
        if not isinstance(cluster, Cluster):
            ended = said.uncertain or (cluster.version, cluster.merged_into) == (said.version, said.merged_into)
            if said.live or not ended:
                yield Difference("told_otherwise", scope, cid, "ended in Redis, told of otherwise")
        elif _shown(cluster.version, cluster.members, cluster.exemplar) != _shown(
            said.version, said.members, said.keep
        ):
            yield Difference("told_otherwise", scope, cid, f"version {cluster.version}, told {said.version}")
    for cid in told.keys() - held.clusters.keys() - pending:
        yield Difference("told_only", scope, cid, f"version {told[cid].version}")


def beside_each_other(told: Told, pending: Iterable[str], *, complete: bool, repeats: bool) -> Iterator[Difference]:
    """The events beside the compacted topic. `complete`: no event was dropped yet; `repeats`: they may come twice."""
    for fault in told.faults:
        if not (repeats and fault.kind == "event_repeated"):
            yield Difference(fault.kind, fault.scope, fault.subject, fault.detail)
    waiting = set(pending)
    for scope, clusters in told.scopes.items():
        for cid, said in clusters.items():
            versions, stated = told.versions.get(cid), told.stated.get(cid)
            if cid in waiting:
                continue
            if versions is None:
                if complete:
                    yield Difference("event_gap", scope, cid, f"no event, at version {said.version}")
                continue
            if complete and versions.first != 1:
                yield Difference("event_gap", scope, cid, f"the first is version {versions.first}")
            if (stated is None and said.live) or (stated is not None and stated != versions.last):
                yield Difference("state_behind_events", scope, cid, f"version {stated}, events {versions.last}")


def beside_vectors(scope: str, held: Contents, present: Present, partition: int) -> Iterator[Difference]:
    """A store beside the vectors topic up to its own last offset."""
    there, later = present.records(scope), present.later(scope)
    for record_id in there.keys() - held.records.keys():
        yield Difference("vector_without_record", scope, record_id)
    for record_id, state in held.records.items():
        seen = there.get(record_id)
        if seen is None:
            if record_id not in later:
                yield Difference("record_without_vector", scope, record_id)
        elif seen.source != state.source:
            yield Difference("record_of_another_message", scope, record_id)
    if (applied := held.applied.get(partition, -1)) < present.last(scope):
        yield Difference("applied_behind", scope, f"partition {partition}", f"{applied}, not {present.last(scope)}")


def beside_index(scope: str, index: VectorIndex, present: Present) -> Iterator[Difference]:
    """The index of a snapshot beside what the topic says of the same offset.

    Of a record with a later row it may lack the earlier one: a replay leaves out what was replaced since.
    """
    there = present.records(scope)
    ids = sorted(there.keys() - present.later(scope))
    for record_id in ids:
        if record_id not in index:
            yield Difference("snapshot", scope, record_id, "not in the index")
    indexed = [record_id for record_id in ids if record_id in index]
    for start in range(0, len(indexed), _AT_ONCE):
        chunk = indexed[start : start + _AT_ONCE]
        rows, _ = index.vectors(chunk)
        for record_id, row in zip(chunk, rows.astype(np.float16).astype("<f2", copy=False), strict=True):
            if numbers_digest(row.tobytes()) != there[record_id].digest:
                yield Difference("snapshot", scope, record_id, "another vector")
    # what compaction took away or a later row replaced may be in the index still, and only that
    if len(index) - len(indexed) > len(present.later(scope)):
        yield Difference("snapshot", scope, "", f"{len(index)} records in the index, {len(indexed)} in the topic")


def _shown(version: int, members: Iterable[str], keep: str | None) -> tuple[int, frozenset[str], str | None]:
    return version, frozenset(members), keep
