"""What was told beside what a replay comes to → what the store of a scope must hold.

Told clusters stand, with their ids and versions. Where the replay would have decided otherwise, the records concerned
go on the redo queue: the matcher judges them again and tells what changes by ordinary events.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from consumer.move import with_exemplar
from consumer.records import (
    Cluster,
    ClusterChange,
    ClusterEventKind,
    Erasure,
    Member,
    Position,
    RecordState,
    Retired,
    Vector,
)
from consumer.recovery.contents import Contents, companies
from consumer.recovery.told import ToldCluster

NOWHERE = Position("", 0, 0)
"""The input position of a record whose vector is not read yet: whatever comes is newer."""
Later = Mapping[str, Vector | Erasure]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One scope as it must be."""

    contents: Contents
    differing: Sequence[str]
    """Records that the replay puts into other company than was told; on the redo queue."""
    lost: Sequence[str]
    """Members of told clusters of which the vectors topic knows nothing."""
    owed: Sequence[ClusterChange] = ()
    """Of members that are not members any more: erased since, or told to be in another cluster too, for a crash tore a
    batch of events."""


def reconcile(
    replayed: Contents,
    told: Mapping[str, ToldCluster],
    later: Later,
    founder_of: Callable[[str], str | None],
    erased: Collection[str] = (),
) -> Reconciled:
    """`later` is what the matcher will read first; `founder_of` names the record a cluster id was minted from, if known.

    `erased` records are gone for good: where they were told to be members, the cluster is told that they left.
    """
    records = dict(replayed.records)
    gone = {r for r in (*erased, *replayed.erased) if r not in records and r not in later}
    live = _untorn(told, gone)
    ghosts = {r for members in live.values() for r in members if r not in records}
    clusters: dict[str, Cluster | Retired] = {}
    owed: list[ClusterChange] = []
    holder = {r: cid for cid, members in live.items() for r in members}
    for cid, t in told.items():
        if not t.live:
            clusters[cid] = Retired(t.version, t.merged_into)
            continue
        founded_ms = _founded(cid, replayed)
        states = _imagined(t.members, records, later, founded_ms or 0)
        records.update((r, states[r]) for r in live[cid])
        founder = founder_of(cid)
        if founded_ms is None and founder is not None and founder in records:
            founded_ms = records[founder].born_ms
        whole = _cluster(cid, t, states, founded_ms)
        clusters[cid], changes = _parted(whole, live[cid], holder, gone)
        owed += changes
    assignments = {r: cid for cid, c in clusters.items() if isinstance(c, Cluster) for r in c.members}
    differing = _differing(assignments, replayed.assignments, ghosts)
    # what is owed is told with the next row of the partition; with something to judge again there will be one
    stirred = sorted({r for change in owed for r in change.removed if r in records})
    redo = dict.fromkeys([*(r for r in replayed.redo if r in records), *differing, *stirred])
    contents = replace(
        replayed, records=records, clusters=clusters, assignments=assignments, redo=list(redo), outbox=[]
    )
    return Reconciled(contents, differing, sorted(ghosts - later.keys()), owed)


def _untorn(told: Mapping[str, ToldCluster], gone: Collection[str]) -> dict[str, list[str]]:
    """The members of each live cluster without those that are gone, every record in the one that was told last."""
    holder: dict[str, str] = {}
    for cid, t in sorted(told.items(), key=lambda item: (item[1].told_ms, item[0])):
        holder.update(dict.fromkeys(t.members, cid))
    return {cid: [r for r in t.members if holder[r] == cid and r not in gone] for cid, t in told.items() if t.live}


def _parted(
    whole: Cluster, left: Sequence[str], holder: Mapping[str, str], erased: Collection[str]
) -> tuple[Cluster | Retired, list[ClusterChange]]:
    """A cluster without the members that were erased or told to be in another one, and the events that say so."""
    gone = sorted(whole.members.keys() - set(left))
    if not gone:
        return whole, []
    version = whole.version + 1
    if len(left) < 2:
        homes = {holder.get(r) for r in whole.members}
        heir = homes.pop() if len(homes) == 1 else None
        ended = sorted(whole.members)
        change = ClusterChange("dissolved", whole.id, version, (), ended, (), None, merged_into=heir)
        return Retired(version, heir), [change]
    members = {r: whole.members[r] for r in left}
    keep = _kept(whole.exemplar, members)
    kind: ClusterEventKind = "left" if all(r in erased for r in gone) else "split"
    changes = with_exemplar(ClusterChange(kind, whole.id, version, (), gone, list(left), keep), whole)
    return replace(whole, version=changes[-1].version, members=members, exemplar=keep), changes


def _imagined(
    members: Sequence[str], records: Mapping[str, RecordState], later: Later, founded_ms: int
) -> dict[str, RecordState]:
    """States of members, also of those that the replay has not met: told of before their row was committed, or lost.

    Members are listed oldest first, so the birth of the one before is about theirs.
    """
    states: dict[str, RecordState] = {}
    born_ms = founded_ms
    for record_id in members:
        item = later.get(record_id)
        if record_id in records:
            states[record_id] = records[record_id]
        elif isinstance(item, Vector):
            states[record_id] = RecordState(NOWHERE, item.born_ms, item.quality)
        else:
            states[record_id] = RecordState(NOWHERE, born_ms, 0.0)
        born_ms = states[record_id].born_ms
    return states


def _founded(cid: str, replayed: Contents) -> int | None:
    found = replayed.clusters.get(cid)
    return found.founded_ms if isinstance(found, Cluster) else None


def _cluster(cid: str, told: ToldCluster, records: Mapping[str, RecordState], founded_ms: int | None) -> Cluster:
    members = {r: Member(records[r].born_ms, records[r].quality) for r in told.members}
    oldest = min(member.born_ms for member in members.values())
    founded_ms = oldest if founded_ms is None else founded_ms
    return Cluster(cid, told.version, founded_ms, members, _kept(told.keep, members))


def _kept(keep: str | None, members: Mapping[str, Member]) -> str:
    """The record that was told to be kept, or the best where it is none of the members."""
    if keep is not None and keep in members:
        return keep
    return min(members, key=lambda r: (-members[r].quality, members[r].born_ms, r))


def _differing(told: Mapping[str, str], replayed: Mapping[str, str], ghosts: set[str]) -> list[str]:
    """Records in other company, leaving out those whose rows are still to come."""
    said = companies({r: cid for r, cid in told.items() if r not in ghosts})
    decided = companies(replayed)
    alone = {r: frozenset([r]) for r in said.keys() | decided.keys()}
    return sorted(r for r, self_ in alone.items() if said.get(r, self_) != decided.get(r, self_))
