"""Pure decisions about clusters: a record and its matches go in, changes come out.

A cluster is a connected component of the graph whose edges are matches above the duplicate threshold (DBSCAN with
min_samples = 2 on the same similarity), as far as the merge rules let its parts join. What they refuse is held for a
person. The rules that keep its identity:

- A cluster's id is minted from its oldest record (earliest birth, ties by minted id). Where clusters meet, the id
  minted from the oldest record survives; the others end and point to it.
- A record that leaves does not take the id along: the part that holds the oldest remaining record keeps it.
- A part that is split off gets an id of its own, and no id is ever used twice.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.evidence import EvidenceGraph, Pair
from consumer.merging import MergeRules
from consumer.ports import Neighbourhood
from consumer.records import (
    Cause,
    Cluster,
    ClusterChange,
    ClusterEventKind,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Position,
    PossibleChange,
    RecordState,
    Retired,
    ScopeUpdate,
    Vector,
)

Change = ClusterChange | PossibleChange
EVIDENCE_PER_CHANGE = 10
"""A change shows its strongest edges only: a hub may have as many as the index returns candidates."""


@dataclass(frozen=True, slots=True)
class Minter:
    """Makes cluster ids: keyed digests, so that an id does not reveal the record it was minted from."""

    key: bytes
    profile: str
    scope: str

    def __call__(self, record_id: str, cause: Cause | None = None) -> str:
        """The id of the cluster that `record_id` founds; with `cause`, another one, when that id was used before."""
        parts = [self.profile, self.scope, record_id]
        if cause is not None:
            parts += [cause.position.topic, str(cause.position.partition), str(cause.position.offset)]
        return "c" + hashlib.blake2b("\0".join(parts).encode(), key=self.key[:64], digest_size=10).hexdigest()


@dataclass(slots=True)
class _Group:
    """Records that belong together after a change, on their way to becoming a cluster."""

    members: set[str]
    claims: list[Cluster] = field(default_factory=list)
    """Clusters of before whose id this group may keep."""


class Book:
    """A working copy of a neighbourhood, changed record by record; `update` tells what to write.

    Feed it rows in stream order; many rows in one book or each in its own come to the same.
    """

    def __init__(self, state: Neighbourhood, mint: Minter, rules: MergeRules) -> None:
        self._records: dict[str, RecordState | None] = dict(state.records)
        self._assigned_before = {r: cid for cid, cluster in state.clusters.items() for r in cluster.members}
        self._assigned: dict[str, str | None] = dict(self._assigned_before)
        self._clusters = dict(state.clusters)
        self._evidence = EvidenceGraph(state.edges)
        self._free = set(state.free)
        self._before = state
        self._mint = mint
        self._rules = rules
        self._retired: dict[str, Retired] = {}
        self._erased: dict[str, Position] = dict(state.erased)

    def __contains__(self, record_id: str) -> bool:
        return self._records.get(record_id) is not None

    def upsert(self, vector: Vector, matches: Sequence[Match], cause: Cause) -> list[Change]:
        """Add a record, or replace it, given everything it matches now."""
        left = self._assigned.get(vector.id)
        hidden = self._hidden(left)
        old_edges = self._evidence.drop(vector.id)
        fragments = self._fragments(vector.id)
        state = self._records.get(vector.id)
        # an update does not make a record younger
        born_ms = min(vector.born_ms, state.born_ms) if state else vector.born_ms
        self._records[vector.id] = RecordState(vector.source, born_ms, vector.quality)
        self._erased.pop(vector.id, None)
        group = _Group({vector.id})
        evidence = self._join(group, fragments, vector.id, [match for match in matches if match.id in self])
        apart = [_Group(members) for members in fragments if not members & group.members]
        changes = self._settle([group, *apart], vector.id, left, evidence, cause)
        return [*changes, *self._possible(hidden, old_edges, evidence)]

    def erase(self, record_id: str, cause: Cause) -> list[Change]:
        """Forget a record and everything known of it; its cluster is judged again without it."""
        left = self._assigned.get(record_id)
        hidden = self._hidden(left)
        old_edges = self._evidence.drop(record_id)
        groups = [_Group(members) for members in self._fragments(record_id)]
        self._erased[record_id] = cause.source
        changes = self._settle(groups, record_id, left, [], cause)
        self._records[record_id] = None
        self._assigned[record_id] = None
        return [*changes, *self._possible(hidden, old_edges, [])]

    def update(self, outbox: Sequence[OutboxEntry]) -> ScopeUpdate:
        """What changed since the book was opened, as one write."""
        before = self._before
        live = {cid: c for cid, c in self._clusters.items() if before.clusters.get(cid) is not c}
        known: dict[str, Mapping[str, Member]] = {
            cid: before.clusters[cid].members if cid in before.clusters else {} for cid in live
        }
        return ScopeUpdate(
            records={r: s for r, s in self._records.items() if before.records.get(r) is not s},
            assignments={r: cid for r, cid in self._assigned.items() if self._assigned_before.get(r) != cid},
            clusters={**live, **self._retired},
            members_put={cid: [r for r, m in c.members.items() if known[cid].get(r) != m] for cid, c in live.items()},
            members_dropped={cid: [r for r in known[cid] if r not in c.members] for cid, c in live.items()},
            edges=self._evidence.put,
            edges_dropped=self._evidence.dropped,
            erased={r: p for r, p in self._erased.items() if before.erased.get(r) != p},
            outbox=outbox,
        )

    def _join(
        self, group: _Group, fragments: list[set[str]], record_id: str, matches: Sequence[Match]
    ) -> list[Evidence]:
        """Take in what the matches hold together, the best first, as far as the rules allow; the edges, best first."""
        ordered = sorted(matches, key=_best_first)
        for match in ordered:
            self._evidence.link(record_id, match, None)
        refused = [match.id for match in ordered if match.duplicate]
        held: dict[str, str] = {}
        joined = True
        while joined:  # what was refused a single record may be allowed to the group that it became
            joined, waiting, refused = False, refused, []
            for other in waiting:
                if other in group.members:
                    continue
                others = self._companions(fragments, other)
                objection = self._rules.objection(group.members, others, self._evidence)
                if objection is None:
                    group.members |= others
                    joined = True
                else:
                    held[other] = objection
                    refused.append(other)
        return [
            self._evidence.link(record_id, match, None if match.id in group.members else held.get(match.id))
            for match in ordered
        ]

    def _companions(self, fragments: list[set[str]], record_id: str) -> set[str]:
        """The records that come along when `record_id` is joined."""
        for members in fragments:
            if record_id in members:
                return members
        cid = self._assigned.get(record_id)
        return set(self._clusters[cid].members) if cid else {record_id}

    def _fragments(self, record_id: str) -> list[set[str]]:
        """What the record's cluster falls into without it."""
        cid = self._assigned.get(record_id)
        return self._evidence.components(self._clusters[cid].members.keys() - {record_id}) if cid else []

    def _settle(
        self, groups: list[_Group], cause_id: str, left: str | None, evidence: Sequence[Evidence], cause: Cause
    ) -> list[Change]:
        """Give every group its cluster id and say what changed, `cause_id` being the record that moved."""
        touched = {cid for group in groups for r in group.members if (cid := self._assigned.get(r))}
        if left:
            touched.add(left)
        before = {cid: self._clusters[cid] for cid in sorted(touched)}
        # Read before anything is renamed: what is known of a member lies in its cluster of before.
        everyone = {r: self._member(r) for group in groups for r in group.members}
        for cluster in before.values():
            heir = self._heir(cluster, groups, cause_id)
            if heir is not None:
                heir.claims.append(cluster)
        changes: list[Change] = []
        inherited: dict[str, str] = {}
        for group in groups:
            if len(group.members) == 1:
                self._assign(group.members, None)
                continue
            cid, change = self._name(group, everyone, cause_id, left, evidence, cause)
            inherited.update({claim.id: cid for claim in group.claims})
            if change is not None:
                changes.append(change)
        ended = [c for cid, c in before.items() if inherited.get(cid) != cid]
        return [*changes, *(self._end(cluster, inherited.get(cluster.id)) for cluster in ended)]

    def _heir(self, cluster: Cluster, groups: Sequence[_Group], cause_id: str) -> _Group | None:
        """The group that may keep the cluster's id: the one with its oldest member, if that is not alone in it."""
        stayed = cluster.members.keys() - {cause_id}
        heirs = [g for g in groups if len(g.members) > 1 and g.members & stayed]
        if len(heirs) <= 1:
            return heirs[0] if heirs else None

        def oldest(group: _Group) -> tuple[int, str]:
            return min((cluster.members[r].born_ms, self._mint(r)) for r in group.members & cluster.members.keys())

        return min(heirs, key=oldest)

    def _name(
        self,
        group: _Group,
        everyone: Mapping[str, Member],
        cause_id: str,
        left: str | None,
        evidence: Sequence[Evidence],
        cause: Cause,
    ) -> tuple[str, ClusterChange | None]:
        """The group's cluster id, and what changed about that cluster, if anything did."""
        members = {r: everyone[r] for r in group.members}
        cid, founded_ms = self._choose_id(group, members, cause_id, cause)
        kept = next((claim for claim in group.claims if claim.id == cid), None)
        before: Collection[str] = kept.members.keys() if kept else ()
        oldest_first = sorted(members, key=lambda r: (members[r].born_ms, r))
        added = [r for r in oldest_first if r not in before]
        removed = sorted(set(before) - members.keys())
        merged_from = [claim.id for claim in group.claims if claim.id != cid]
        came_apart = (
            left is not None
            and left not in (c.id for c in group.claims)
            and any(r != cause_id and self._assigned.get(r) == left for r in members)
        )
        kind = _kind(kept is not None, merged_from, came_apart, added, removed, cause_id, members)
        if kind is None:
            return cid, None
        exemplar = min(members, key=lambda r: (-members[r].quality, members[r].born_ms, r))
        version = kept.version + 1 if kept else 1
        self._clusters[cid] = Cluster(cid, version, founded_ms, members, exemplar)
        self._assign(members, cid)
        return cid, ClusterChange(
            kind=kind,
            cluster_id=cid,
            version=version,
            added=added,
            removed=removed,
            members=oldest_first,
            exemplar=exemplar,
            merged_from=merged_from,
            split_from=left if came_apart else None,
            evidence=[e for e in evidence if e.joins and cause_id in members][:EVIDENCE_PER_CHANGE],
        )

    def _choose_id(self, group: _Group, members: Mapping[str, Member], cause_id: str, cause: Cause) -> tuple[str, int]:
        """The most senior of the ids the group may bear, with the birth it goes back to."""
        held = set[str]().union(*(claim.members.keys() for claim in group.claims))
        newcomers = [(members[r].born_ms, self._mint(r), r) for r in members if r not in held]
        bearable = [(claim.founded_ms, claim.id) for claim in group.claims]
        # A record that was split off may not be named in this row, and whether its id is free is known of named ones
        # only: asked for such a record, the answer would depend on the other rows of the batch.
        named = {r for r in members if r == cause_id or self._assigned.get(r) is None}
        bearable += [(born_ms, cid) for born_ms, cid, r in newcomers if r in named and cid in self._free]
        if bearable:
            founded_ms, cid = min(bearable)
        else:
            founded_ms, _, record_id = min(newcomers)
            cid = self._mint(record_id, cause)
        self._free.discard(cid)
        return cid, founded_ms

    def _end(self, cluster: Cluster, heir: str | None) -> ClusterChange:
        del self._clusters[cluster.id]
        version = cluster.version + 1
        self._retired[cluster.id] = Retired(version, heir)
        return ClusterChange(
            kind="dissolved",
            cluster_id=cluster.id,
            version=version,
            added=(),
            removed=sorted(cluster.members),
            members=(),
            exemplar=None,
            merged_into=heir,
        )

    def _hidden(self, cluster_id: str | None) -> dict[Pair, Evidence]:
        return self._evidence.apart_within(self._clusters[cluster_id].members) if cluster_id else {}

    def _possible(
        self, hidden: Mapping[Pair, Evidence], old: Iterable[Evidence], new: Iterable[Evidence]
    ) -> list[Change]:
        """Pairs that a person should see, some of them because their cluster came apart, and pairs whose edge went."""
        before = {(e.a, e.b): e for e in old if not e.joins}
        bared = {pair: e for pair, e in hidden.items() if pair not in before}
        now = {(e.a, e.b): e for e in (*bared.values(), *new) if not e.joins and not self._together(e)}
        # Sorted, for a store returns edges in no order and a batch run again must say the same.
        found = [now[pair] for pair in sorted(now) if pair in hidden or pair not in before]
        gone = [before[pair] for pair in sorted(before.keys() - now.keys())]
        return [*(PossibleChange("found", e) for e in found), *(PossibleChange("withdrawn", e) for e in gone)]

    def _together(self, edge: Evidence) -> bool:
        cid = self._assigned.get(edge.a)
        return cid is not None and cid == self._assigned.get(edge.b)

    def _assign(self, members: Iterable[str], cid: str | None) -> None:
        for record_id in members:
            self._assigned[record_id] = cid

    def _member(self, record_id: str) -> Member:
        state = self._records.get(record_id)
        if state is not None:
            return Member(state.born_ms, state.quality)
        return self._clusters[self._assigned[record_id] or ""].members[record_id]


def _kind(
    kept: bool,
    merged_from: Sequence[str],
    came_apart: bool,
    added: Sequence[str],
    removed: Sequence[str],
    cause_id: str,
    members: Collection[str],
) -> ClusterEventKind | None:
    """The word for a change; None when nothing about the cluster changed."""
    if merged_from:
        return "merged"
    if not kept:
        return "split" if came_apart else "created"
    if any(r != cause_id for r in removed):
        return "split"
    if removed:
        return "left"
    if added:
        return "joined"
    return "updated" if cause_id in members else None


def _best_first(match: Match) -> tuple[float, str]:
    return -match.probability, match.id
