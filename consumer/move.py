"""Why records are parted anew, and how what follows from it is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from consumer.evidence import EvidenceGraph, best_first
from consumer.records import Cause, Cluster, ClusterChange, ClusterEventKind, Evidence, Member, Verdict

EVIDENCE_PER_CHANGE = 10
"""A change shows its strongest edges only: a hub may have as many as the index returns candidates."""


@dataclass(frozen=True, slots=True)
class Move:
    """What made a change, and what is known of the records it may concern."""

    cause: Cause
    record: str | None
    """The record that came, changed or went; None where none did."""
    members: Mapping[str, Member]
    evidence: EvidenceGraph
    obeyed: Sequence[Verdict]
    """What people said that the records are the same, as far as it counts."""
    said: Verdict | None
    """The word that is the cause."""

    def links(self, members: Collection[str], before: Mapping[str, str | None]) -> list[Evidence]:
        """The edges that brought a cluster's members together, the best first.

        `before` is the cluster that each was in: what held the others together already is no news.
        """
        new = [e for e in self.evidence.within(members) if e.joins and self._is_new(e.a, e.b, before)]
        return sorted(new, key=best_first)[:EVIDENCE_PER_CHANGE]

    def words(self, members: Collection[str], gone: Collection[str], before: Mapping[str, str | None]) -> list[Verdict]:
        """What people said that brought a cluster's members together, or made the change."""
        new = [v for v in self.obeyed if v.a in members and v.b in members and self._is_new(v.a, v.b, before)]
        if self.said is None or self.said in new:
            return new
        concerns = any(r in members or r in gone for r in (self.said.a, self.said.b))
        return [self.said, *new] if concerns else new

    def _is_new(self, a: str, b: str, before: Mapping[str, str | None]) -> bool:
        return self.record in {a, b} or before.get(a) is None or before.get(a) != before.get(b)


def kind_of(
    *,
    kept: bool,
    merged: bool,
    split: bool,
    added: Collection[str],
    removed: Collection[str],
    moved: str | None,
    members: Collection[str],
) -> ClusterEventKind | None:
    """The word for a change; None when nothing about the cluster changed."""
    if merged:
        return "merged"
    if not kept:
        return "split" if split else "created"
    if any(r != moved for r in removed):
        return "split"
    if removed:
        return "left"
    if added:
        return "joined"
    return "updated" if moved in members else None


def with_exemplar(change: ClusterChange, kept: Cluster | None) -> list[ClusterChange]:
    """A change, and what it did to the record to keep of a cluster that lives on."""
    if kept is None or change.exemplar == kept.exemplar:
        return [change]
    told = replace(
        change,
        kind="exemplar_changed",
        version=change.version + 1,
        added=(),
        removed=(),
        merged_from=(),
        evidence=(),
        verdicts=(),
        previous_exemplar=kept.exemplar,
    )
    return [change, told]
