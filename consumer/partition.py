"""Which records are one: the rule by which clusters are made, in a batch or for what a change touches.

Agglomeration from the most probable pair down. It begins with the records that people call the same, whatever size and
quorum say; then each duplicate pair, the best first, merges the two groups it lies between, if the merge rules allow; what
was refused is tried again until nothing changes, since a refused merge may be allowed to a larger group.

The outcome does not depend on the order in which records came. Records without duplicates or words between them do not
influence each other: the partition of all records is that of each connected part for itself. Beyond that, and as long as
no people's words lie between clusters, the partition of some whole clusters is those clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.evidence import EvidenceGraph, Pair, best_first
from consumer.groups import Groups
from consumer.merging import CROWD, SIZE_CAP, MergeRules
from consumer.records import Evidence, Member
from consumer.words import Words


@dataclass(frozen=True, slots=True)
class Partition:
    """Groups of records, many of one."""

    groups: list[set[str]]
    """In the order of their least ids."""
    held: Mapping[Pair, str]
    """Why each duplicate between two groups does not join them."""
    edges: list[Evidence]
    """All between two of the records."""


def partition(members: Mapping[str, Member], evidence: EvidenceGraph, words: Words, rules: MergeRules) -> Partition:
    """Part some records by the evidence and the words among them; what leads out of them counts for nothing."""
    obeyed = words.obeyed(members)
    edges = evidence.within(members)
    groups = Groups(members, evidence, edges, [(verdict.a, verdict.b) for verdict in obeyed.different])
    for verdict in obeyed.same:
        if groups.of(verdict.a) != groups.of(verdict.b):
            groups.merge(groups.of(verdict.a), groups.of(verdict.b))
    refused = sorted((edge for edge in edges if edge.match.duplicate), key=best_first)
    held: dict[Pair, str] = {}
    objections: dict[tuple[int, int], str] = {}  # large groups have many pairs between them
    joined = True
    while joined:
        joined, waiting, refused = False, refused, []
        for edge in waiting:
            one, other = groups.of(edge.a), groups.of(edge.b)
            if one == other:
                continue
            objection = objections.get((one, other)) or rules.objection(groups, one, other)
            if objection is None:
                groups.merge(one, other)
                objections.clear()
                joined = True
            else:
                held[edge.a, edge.b] = objections[one, other] = objection
                refused.append(edge)
    return Partition(groups.sets(), _held(groups, refused, held), edges)


def _held(groups: Groups, refused: Sequence[Evidence], reasons: Mapping[Pair, str]) -> Mapping[Pair, str]:
    """Why each of the refused edges, in their order, does not join; between a full group and another, one asks for all."""
    held: dict[Pair, str] = {}
    full: set[frozenset[int]] = set()
    for edge in refused:
        pair, between = (edge.a, edge.b), frozenset((groups.of(edge.a), groups.of(edge.b)))
        held[pair] = CROWD if between in full else reasons[pair]
        if held[pair] == SIZE_CAP:
            full.add(between)
    return held
