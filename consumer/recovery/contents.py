"""All that a store holds of one scope: what `dedup verify` compares and `dedup rebuild` writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consumer.records import Cluster, Evidence, OutboxEntry, Position, RecordState, Retired, Verdict


@dataclass(slots=True)
class Contents:
    """One scope, whole. About 0.5 kB a record and 1 kB an edge, in memory."""

    applied: dict[int, int] = field(default_factory=dict)
    """Partition of the vectors topic → last offset that was decided; one, in a sound store."""
    records: dict[str, RecordState] = field(default_factory=dict)
    assignments: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, Cluster | Retired] = field(default_factory=dict)
    edges: dict[str, dict[str, Evidence]] = field(default_factory=dict)
    """Record → other record → edge; each edge under both."""
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    """Likewise."""
    redo: list[str] = field(default_factory=list)
    outbox: list[OutboxEntry] = field(default_factory=list)
    beliefs: bytes | None = None
    whitening: bytes | None = None
    erased: dict[str, Position] = field(default_factory=dict)
    """Records whose late copies are recognised. Redis, which keeps digests of their ids, cannot tell: empty there."""
    strays: list[str] = field(default_factory=list)
    """Keys of Redis that belong to no record or live cluster."""

    @property
    def live(self) -> dict[str, Cluster]:
        return {cid: c for cid, c in self.clusters.items() if isinstance(c, Cluster)}

    @property
    def retired(self) -> dict[str, Retired]:
        return {cid: c for cid, c in self.clusters.items() if isinstance(c, Retired)}


class Inventory(Protocol):
    """A store that can be read whole. Raises StoreError when it is away."""

    def scopes(self, partition: int) -> Sequence[str]:
        """Scopes ever claimed in this partition of the vectors topic."""

    def contents(self, partition: int) -> Mapping[str, Contents]:
        """Everything of its scopes, by scope. Where a matcher writes meanwhile, its parts may be of different moments."""

    def mark(self, scope: str) -> object:
        """Something that is another whenever the scope was written to."""


def companies(assignments: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Record → the records it is in one cluster with, itself among them; of records that stand alone nothing."""
    members: dict[str, set[str]] = {}
    for record_id, cid in assignments.items():
        members.setdefault(cid, set()).add(record_id)
    whole = {cid: frozenset(found) for cid, found in members.items()}
    return {record_id: whole[cid] for record_id, cid in assignments.items()}
