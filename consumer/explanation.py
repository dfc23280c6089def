"""Why two records are one or are not, and what holds a cluster together: read from the store, decided nowhere here.

Only what was stored when it was decided is told. The similarities of a pair that was judged different are not kept, nor is
the nearness of a record to the centre of its cluster.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from consumer.links import Branch, Link, Word, hang, link_of, links_of, path_between
from consumer.merging import AMBIGUOUS
from consumer.ports import ClusterStore, Neighbourhood
from consumer.records import Cluster, Retired

KeptFor = Literal["quality", "age", "closeness"]
"""What sets the record to keep apart: better quality than the others; as good, but older; nearer to the centre."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where records live."""

    profile: str
    scope: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store knows of a record."""

    id: str
    state: Literal["known", "erased", "unknown"]
    cluster: str | None = None
    born_ms: int | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class PairExplanation:
    """Two records."""

    place: Place
    left: Standing
    right: Standing
    together: bool
    rule: str
    """What decided: a key of `prose.RULES`."""
    link: Link | None
    """None where nothing is stored of the pair."""
    path: Sequence[Link]
    """The strongest links that lead from one to the other, where they are in one cluster."""
    words: Sequence[Word]
    """What people said of this pair; else of others, as far as it keeps the two's clusters apart."""


@dataclass(frozen=True, slots=True)
class RecordExplanation:
    """A record that stands alone."""

    place: Place
    record: Standing
    links: Sequence[Link]
    """What is stored of it and others, the strongest first."""
    others: Mapping[str, str]
    """Of those others, the ones in a cluster, and which."""


@dataclass(frozen=True, slots=True)
class ClusterExplanation:
    """A cluster that lives, or what became of one that ended."""

    place: Place
    forwarded: Sequence[str]
    """Retired ids that led here, the one asked for first."""
    id: str
    version: int
    members: Sequence[Standing] = ()
    """Oldest first; empty when the cluster ended and no other took over."""
    keep: str | None = None
    kept_for: KeptFor | None = None
    tree: Sequence[Branch] = ()
    """The members on their strongest links, below the record to keep, depth first."""
    links: Sequence[Link] = ()
    """To records outside, the strongest first."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Of those records outside, the ones in a cluster, and which."""


@dataclass(frozen=True, slots=True)
class FilesExplanation:
    """Two records judged now, as if there were no others."""

    profile: str
    left: Standing
    right: Standing
    outcome: Literal["duplicate", "possible", "different"]
    rule: str
    link: Link | None
    """None where nothing was compared."""
    not_compared: Sequence[str]
    """Modalities that are missing in one of the two, or in both."""
    keep: str


def explain_pair(store: ClusterStore, place: Place, a: str, b: str, certain: float) -> PairExplanation:
    """What the store has of two different records. Raises StoreError.

    From the probability `certain` on, a pair that shows enough of itself is a duplicate.
    """
    near = store.read(place.scope, [a, b], [], edges=True)
    left, right = _standing(near, a), _standing(near, b)
    together = left.cluster is not None and left.cluster == right.cluster
    edge, said = near.edges.get(a, {}).get(b), near.verdicts.get(a, {}).get(b)
    link = link_of(a, b, edge, said) if edge or said else None
    one, other = _companions(near, left), _companions(near, right)
    within = [link for link in links_of(near, one) if link.a in one and link.b in one]
    return PairExplanation(
        place=place,
        left=left,
        right=right,
        together=together,
        rule=_rule(link, certain, together=together) if left.state == right.state == "known" else "absent",
        link=link,
        path=path_between(within, a, b) if together else [],
        words=_words_on(near, one, other, link),
    )


def explain_record(store: ClusterStore, place: Place, record_id: str) -> RecordExplanation:
    """A record that is in no cluster. Raises StoreError."""
    near = store.read(place.scope, [record_id], [], edges=True)
    links = links_of(near, [record_id])
    return RecordExplanation(place, _standing(near, record_id), links, _others(store, place, links, [record_id]))


def explain_cluster(store: ClusterStore, place: Place, cluster_id: str) -> ClusterExplanation | None:
    """A cluster by its id of now or of before; None when no cluster ever had it. Raises StoreError."""
    forwarded, found = follow(store, place.scope, cluster_id)
    if found is None:
        return None
    *before, last = forwarded
    if isinstance(found, Retired):
        return ClusterExplanation(place, before, last, found.version)
    members = found.members
    near = store.read(place.scope, list(members), [], edges=True)
    links = links_of(near, members)
    outside = [link for link in links if link.a not in members or link.b not in members]
    oldest_first = sorted(members, key=lambda r: (members[r].born_ms, r))
    return ClusterExplanation(
        place=place,
        forwarded=before,
        id=last,
        version=found.version,
        members=[Standing(r, "known", last, members[r].born_ms, members[r].quality) for r in oldest_first],
        keep=found.exemplar,
        kept_for=_kept_for(found),
        tree=hang([link for link in links if link.a in members and link.b in members], found.exemplar, oldest_first),
        links=outside,
        others=_others(store, place, outside, members),
    )


def follow(store: ClusterStore, scope: str, cluster_id: str) -> tuple[list[str], Cluster | Retired | None]:
    """The ids on the way from a cluster's id to the one that its members have now, and what the last stands for."""
    ids = [cluster_id]
    found = store.clusters(scope, ids).get(cluster_id)
    while isinstance(found, Retired) and found.merged_into is not None:
        ids.append(found.merged_into)
        found = store.clusters(scope, ids[-1:]).get(ids[-1])
    return ids, found


def _standing(near: Neighbourhood, record_id: str) -> Standing:
    state = near.records.get(record_id)
    if state is None:
        return Standing(record_id, "erased" if record_id in near.erased else "unknown")
    return Standing(record_id, "known", near.assignments.get(record_id), state.born_ms, state.quality)


def _companions(near: Neighbourhood, record: Standing) -> Collection[str]:
    return near.clusters[record.cluster].members.keys() if record.cluster else [record.id]


def _words_on(near: Neighbourhood, one: Collection[str], other: Collection[str], link: Link | None) -> Sequence[Word]:
    """The word on the pair, else those that keep their two clusters apart, newest first.

    Where it is ambiguous whom a record belongs to, those are words between one of the two clusters and a third record.
    """
    if link is not None and link.word is not None:
        return [link.word]
    if one == other:
        return []
    torn = link is not None and link.held == AMBIGUOUS
    said = {(w.a, w.b): w for link in links_of(near, [*one, *other]) if (w := link.word) and w.says != "undecided"}
    between = [
        word
        for word in said.values()
        if (torn and word.says == "different")
        or (word.a in one and word.b in other)
        or (word.b in one and word.a in other)
    ]
    return sorted(between, key=lambda word: (-word.said_ms, word.a, word.b))


def _rule(link: Link | None, certain: float, *, together: bool) -> str:
    if link is not None and link.word is not None and link.word.says != "undecided":
        obeyed = (link.word.says == "same") == together
        return f"person_{link.word.says}" if obeyed else "overruled"
    if together:
        return "threshold" if link is not None and link.holds else "through_others"
    if link is None or link.probability is None:
        return "no_evidence"
    return link.held or possible_rule(link.probability, certain)


def possible_rule(probability: float, certain: float) -> str:
    """Why a pair is possible, and no duplicate."""
    return "min_evidence" if probability >= certain else "possible"


def _kept_for(cluster: Cluster) -> KeptFor:
    kept = cluster.members[cluster.exemplar]
    others = [member for record, member in cluster.members.items() if record != cluster.exemplar]
    best = max(member.quality for member in others)
    if kept.quality > best:
        return "quality"
    if kept.quality < best or any(m.quality == best and m.born_ms < kept.born_ms for m in others):
        return "closeness"
    return "age"


def _others(store: ClusterStore, place: Place, links: Sequence[Link], inside: Collection[str]) -> Mapping[str, str]:
    outside = {record for link in links for record in (link.a, link.b) if record not in inside}
    return store.read(place.scope, sorted(outside), [], edges=False).assignments if outside else {}
