"""Groups of records that grow by merging, with what the merge rules ask of them kept up as they do."""

from collections.abc import Iterable, Mapping

from consumer.evidence import EvidenceGraph, Pair
from consumer.records import Evidence, Member

_UNIT = 1_000_000
"""Probabilities are summed as whole millionths: a sum of floats depends on the order of its terms."""


class Groups:
    """Each record a group of its own at first. A group is named by a number; the numbers mean nothing."""

    def __init__(
        self,
        members: Mapping[str, Member],
        evidence: EvidenceGraph,
        edges: Iterable[Evidence],
        apart: Iterable[Pair],
    ) -> None:
        """`edges` are those of the evidence between members; `apart` are pairs of members that people say differ."""
        ordered = sorted(members)
        self._of = {record: number for number, record in enumerate(ordered)}
        self._records = [[record] for record in ordered]
        self._members = members
        self._evidence = evidence
        self._near: dict[str, dict[str, int]] = {record: {} for record in ordered}
        self._closeness = dict.fromkeys(ordered, 0)
        self._links: list[dict[int, int]] = [{} for _ in ordered]
        self._best: list[dict[int, float]] = [{} for _ in ordered]
        self._apart: list[set[int]] = [set() for _ in ordered]
        self._medoids: dict[int, str] = {}
        for edge in edges:
            self._near[edge.a][edge.b] = self._near[edge.b][edge.a] = round(edge.match.probability * _UNIT)
            if edge.match.duplicate:
                one, other = self._of[edge.a], self._of[edge.b]
                self._links[one][other] = self._links[other][one] = 1
                self._best[one][other] = self._best[other][one] = edge.match.probability
        for a, b in apart:
            one, other = self._of[a], self._of[b]
            self._apart[one].add(other)
            self._apart[other].add(one)

    def of(self, record_id: str) -> int:
        """The group of a record."""
        return self._of[record_id]

    def size(self, group: int) -> int:
        return len(self._records[group])

    def links(self, one: int, other: int) -> int:
        """How many pairs across two groups are duplicates, joined or not."""
        return self._links[one].get(other, 0)

    def best(self, one: int, other: int) -> float:
        """The highest probability among those pairs; 0 where there is none."""
        return self._best[one].get(other, 0.0)

    def ruled_apart(self, group: int) -> set[int]:
        """The groups that hold a record of which a person said that it is not one of this group."""
        return self._apart[group]

    def bridge(self, one: int, other: int) -> Evidence | None:
        """The edge between the medoids of two groups."""
        return self._evidence.get((self._medoid(one), self._medoid(other)))

    def merge(self, one: int, other: int) -> None:
        """Make one group of two."""
        if self.size(one) < self.size(other):
            one, other = other, one
        for record in self._records[other]:
            for near, probability in self._near[record].items():
                if self._of[near] == one:
                    self._closeness[record] += probability
                    self._closeness[near] += probability
        for record in self._records[other]:
            self._of[record] = one
        self._records[one] += self._records[other]
        self._records[other] = []
        self._medoids.pop(one, None)
        self._move_links(other, one)

    def sets(self) -> list[set[str]]:
        """The groups, in the order of their least records."""
        return sorted((set(records) for records in self._records if records), key=min)

    def _move_links(self, old: int, new: int) -> None:
        for third, count in self._links[old].items():
            del self._links[third][old]
            if third != new:
                self._links[new][third] = self._links[third][new] = self._links[new].get(third, 0) + count
        for third, probability in self._best[old].items():
            del self._best[third][old]
            if third != new:
                best = max(self._best[new].get(third, 0.0), probability)
                self._best[new][third] = self._best[third][new] = best
        self._links[old], self._best[old] = {}, {}
        for third in self._apart[old]:
            self._apart[third].discard(old)
            self._apart[third].add(new)
            self._apart[new].add(third)
        self._apart[old] = set()

    def _medoid(self, group: int) -> str:
        """The record that the evidence holds closest to the rest of its group; ties by age, then id."""
        if group not in self._medoids:
            self._medoids[group] = min(
                self._records[group], key=lambda r: (-self._closeness[r], self._members[r].born_ms, r)
            )
        return self._medoids[group]
