"""Which cluster each record is in, and how clusters keep their ids while records come, go and are parted anew.

- A cluster's id is minted from its oldest record (earliest birth, ties by minted id). Where clusters meet, the id
  minted from the oldest record survives; the others end and point to it.
- A record that leaves does not take the id along: the part that holds the oldest remaining record keeps it.
- A part that is split off gets an id of its own, and no id is ever used twice.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.minter import Minter
from consumer.move import Move, kind_of, with_exemplar
from consumer.records import Cause, Cluster, ClusterChange, Member, Retired

Keep = Callable[[Mapping[str, Member]], str]
"""Names the record to keep of a cluster's members."""


@dataclass(slots=True)
class _Group:
    """Records that belong together after a change, on their way to becoming a cluster."""

    members: set[str]
    claims: list[Cluster] = field(default_factory=list)
    """Clusters of before whose id this group may keep."""


class Register:
    """A working copy of some clusters of a scope. `unused` tells whether the store never knew an id."""

    def __init__(self, mint: Minter, keep: Keep, unused: Callable[[str], bool]) -> None:
        self._mint = mint
        self._keep = keep
        self._unused = unused
        self._stored: dict[str, Cluster] = {}
        self._clusters: dict[str, Cluster] = {}
        self._retired: dict[str, Retired] = {}
        self._assigned: dict[str, str | None] = {}

    def load(self, records: Iterable[str], clusters: Mapping[str, Cluster]) -> None:
        """Take in records that were not loaded before, with the clusters they are in."""
        for record in records:
            self._assigned.setdefault(record, None)
        for cid, cluster in clusters.items():
            if cid not in self._stored:
                self._stored[cid] = self._clusters[cid] = cluster
                self._assigned.update(dict.fromkeys(cluster.members, cid))

    def cluster_of(self, record_id: str) -> str | None:
        return self._assigned.get(record_id)

    def together(self, a: str, b: str) -> bool:
        """Whether two records are in one cluster."""
        cid = self._assigned.get(a)
        return cid is not None and cid == self._assigned.get(b)

    def companions(self, record_id: str) -> Collection[str]:
        """The members of a record's cluster, or the record alone."""
        cid = self._assigned.get(record_id)
        return self._clusters[cid].members.keys() if cid else (record_id,)

    def forget(self, record_id: str) -> None:
        """A record that was erased is in no cluster."""
        self._assigned[record_id] = None

    @property
    def assignments(self) -> dict[str, str | None]:
        """Record → cluster, where it is another one than is stored."""
        before = {record: cid for cid, cluster in self._stored.items() for record in cluster.members}
        return {record: cid for record, cid in self._assigned.items() if before.get(record) != cid}

    @property
    def live(self) -> dict[str, Cluster]:
        """Clusters that are new or changed."""
        return {cid: cluster for cid, cluster in self._clusters.items() if self._stored.get(cid) is not cluster}

    @property
    def retired(self) -> dict[str, Retired]:
        return dict(self._retired)

    def stored_members(self, cluster_id: str) -> Mapping[str, Member]:
        """The members of a cluster as the store has them."""
        return self._stored[cluster_id].members if cluster_id in self._stored else {}

    def settle(self, parts: Sequence[set[str]], move: Move) -> list[ClusterChange]:
        """Make clusters of parts: whole clusters and single records before, but for the record that moved.

        Every part gets its cluster id; what is said changed is in the order of the parts.
        """
        groups = [_Group(members) for members in parts]
        touched = {cid for part in parts for r in part if (cid := self._assigned.get(r))}
        if move.record is not None and (left := self._assigned.get(move.record)):
            touched.add(left)
        before = {cid: self._clusters[cid] for cid in sorted(touched)}
        for cluster in before.values():
            heir = self._heir(cluster, groups, move.record)
            if heir is not None:
                heir.claims.append(cluster)
        assigned = {r: self._assigned.get(r) for part in parts for r in part}
        changes: list[ClusterChange] = []
        inherited: dict[str, str] = {}
        for group in groups:
            if len(group.members) == 1:
                self._assigned.update(dict.fromkeys(group.members))
                continue
            cid, made = self._name(group, assigned, move)
            inherited.update({claim.id: cid for claim in group.claims})
            changes += made
        ended = [c for cid, c in before.items() if inherited.get(cid) != cid]
        return [*changes, *(self._end(cluster, inherited.get(cluster.id), move) for cluster in ended)]

    def _heir(self, cluster: Cluster, groups: Sequence[_Group], moved: str | None) -> _Group | None:
        """The group that may keep the cluster's id: the one with its oldest member, if that is not alone in it."""
        stayed = cluster.members.keys() - {moved}
        heirs = [g for g in groups if len(g.members) > 1 and g.members & stayed]

        def oldest(group: _Group) -> tuple[int, str]:
            return min((cluster.members[r].born_ms, self._mint(r)) for r in group.members & cluster.members.keys())

        return min(heirs, key=oldest) if heirs else None

    def _name(self, group: _Group, assigned: Mapping[str, str | None], move: Move) -> tuple[str, list[ClusterChange]]:
        """The group's cluster id, and what changed about that cluster, if anything did."""
        members = {r: move.members[r] for r in group.members}
        cid, founded_ms = self._choose_id(group, members, move.cause)
        kept = next((claim for claim in group.claims if claim.id == cid), None)
        oldest_first = sorted(members, key=lambda r: (members[r].born_ms, r))
        added = [r for r in oldest_first if kept is None or r not in kept.members]
        removed = sorted(kept.members.keys() - members.keys()) if kept else []
        merged_from = [claim.id for claim in group.claims if claim.id != cid]
        split_from = self._origin(group, assigned, move.record)
        kind = kind_of(
            kept=kept is not None,
            merged=bool(merged_from),
            split=split_from is not None,
            added=added,
            removed=removed,
            moved=move.record,
            members=members,
        )
        if kind is None:
            return cid, []
        exemplar = self._keep(members)
        change = ClusterChange(
            kind=kind,
            cluster_id=cid,
            version=kept.version + 1 if kept else 1,
            added=added,
            removed=removed,
            members=oldest_first,
            exemplar=exemplar,
            merged_from=merged_from,
            split_from=None if kept else split_from,
            evidence=move.links(members, assigned),
            verdicts=move.words(members, removed, assigned),
        )
        changes = with_exemplar(change, kept)
        self._assigned.update(dict.fromkeys(members, cid))
        self._clusters[cid] = Cluster(cid, changes[-1].version, founded_ms, members, exemplar)
        return cid, changes

    def _origin(self, group: _Group, assigned: Mapping[str, str | None], moved: str | None) -> str | None:
        """The oldest cluster that the group took members from without taking it over."""
        claimed = {claim.id for claim in group.claims}
        found = {cid for r in group.members if r != moved and (cid := assigned.get(r)) and cid not in claimed}
        return min(found, default=None, key=lambda cid: (self._clusters[cid].founded_ms, cid))

    def _choose_id(self, group: _Group, members: Mapping[str, Member], cause: Cause) -> tuple[str, int]:
        """The most senior of the ids the group may bear, with the birth it goes back to."""
        held = set[str]().union(*(claim.members.keys() for claim in group.claims))
        bearable = [(claim.founded_ms, claim.id) for claim in group.claims]
        newcomers = [(members[r].born_ms, self._mint(r), r) for r in members if r not in held]
        if newcomers:
            founded_ms, cid, founder = min(newcomers)
            if self._is_free(cid):
                bearable.append((founded_ms, cid))
            elif not bearable:
                bearable.append((founded_ms, self._another(founder, cause)))
        founded_ms, cid = min(bearable)
        return cid, founded_ms

    def _another(self, founder: str, cause: Cause) -> str:
        """An id for a record whose own was used before: no id is used twice."""
        again = 0
        while not self._is_new(cid := self._mint(founder, cause, again)):
            again += 1
        return cid

    def _is_new(self, cluster_id: str) -> bool:
        return cluster_id not in self._clusters and cluster_id not in self._retired

    def _is_free(self, cluster_id: str) -> bool:
        return self._is_new(cluster_id) and self._unused(cluster_id)

    def _end(self, cluster: Cluster, heir: str | None, move: Move) -> ClusterChange:
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
            verdicts=move.words((), cluster.members, {}),
        )
