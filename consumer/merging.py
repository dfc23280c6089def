"""Whether records that are linked may become one cluster: the guards against chains and hairballs."""

from collections.abc import Collection
from dataclasses import dataclass

from consumer.evidence import EvidenceGraph

SIZE_CAP = "size_cap"
QUORUM = "quorum"


@dataclass(frozen=True, slots=True)
class MergeRules:
    """Two groups of records become one cluster when enough of the pairs across them are duplicates.

    One wrong pair would otherwise chain two clusters of people: that is the most costly error there is. Two single
    records need their one link; a record needs links to `quorum` of a cluster's members; two clusters need them
    between `quorum` of all pairs across.
    """

    max_size: int
    """Of a cluster, in records."""
    quorum: float
    """0 to 1; 0 joins whatever one link holds together (connected components)."""

    def objection(self, group: Collection[str], others: Collection[str], evidence: EvidenceGraph) -> str | None:
        """Why two linked groups must stay apart; None when they may join."""
        if len(group) + len(others) > self.max_size:
            return SIZE_CAP
        needed = self.quorum * len(group) * len(others)
        if needed > 1 and evidence.duplicates_between(group, others) < needed:
            return QUORUM
        return None
