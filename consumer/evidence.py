"""The graph of evidence between records: which edges there are, which of them join, and what of it changed."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from consumer.records import Evidence, Match

Pair = tuple[str, str]


class EvidenceGraph:
    """A working copy of the edges of a neighbourhood, remembering what was put in and what was taken out."""

    def __init__(self) -> None:
        self._near: dict[str, dict[str, Evidence]] = {}
        self._put: dict[Pair, Evidence] = {}
        self._dropped: set[Pair] = set()

    def load(self, edges: Mapping[str, Mapping[str, Evidence]]) -> None:
        """Take in all stored edges of some records; what was changed here since the store was written stays."""
        for record, found in edges.items():
            near = self._near.setdefault(record, {})
            for other, edge in found.items():
                pair = edge.a, edge.b
                if pair not in self._put and pair not in self._dropped:
                    near[other] = edge

    @property
    def put(self) -> list[Evidence]:
        """Edges that are new, or replaced what was there."""
        return list(self._put.values())

    @property
    def dropped(self) -> list[Pair]:
        """Pairs that had an edge and have none now."""
        return sorted(self._dropped - self._put.keys())

    def get(self, pair: Pair) -> Evidence | None:
        """The edge between two records."""
        return self._near.get(pair[0], {}).get(pair[1]) or self._near.get(pair[1], {}).get(pair[0])

    def near(self, record_id: str) -> Mapping[str, Evidence]:
        """The edges of a record, by the other record."""
        return self._near.get(record_id, {})

    def within(self, records: Collection[str]) -> list[Evidence]:
        """Edges between two of some records, each once."""
        found: list[Evidence] = []
        for record in records:
            near = self.near(record)
            # a hub has edges to very many others
            others = near.keys() if len(near) < len(records) else records
            found += [near[o] for o in others if record < o and o in near and o in records]
        return found

    def leaving(self, records: Collection[str], most: int) -> list[str]:
        """Records that duplicates of some records lead to, beyond these; the nearest first, each once.

        What a hub leads to, a record with more than `most` edges, is left out.
        """
        best: dict[str, tuple[float, str, str]] = {}
        for near in map(self.near, records):
            for other, edge in near.items() if len(near) <= most else ():
                if edge.match.duplicate and other not in records:
                    rank = best_first(edge)
                    best[other] = min(rank, best.get(other, rank))
        return sorted(best, key=lambda other: (best[other], other))

    def link(self, record_id: str, match: Match) -> Evidence:
        """Put in the edge of a match, replacing one between the same two records."""
        a, b = sorted((record_id, match.id))
        return self._set(Evidence(a, b, match))

    def hold(self, edge: Evidence, reason: str | None) -> None:
        """Say why an edge does not join its records; None: it does, or is no duplicate."""
        if edge.held != reason:
            self._set(replace(edge, held=reason))

    def drop(self, record_id: str) -> list[Evidence]:
        """Take out every edge of a record, and return them."""
        edges = list(self._near.pop(record_id, {}).values())
        for edge in edges:
            self._near.get(edge.other(record_id), {}).pop(record_id, None)
            self._put.pop((edge.a, edge.b), None)
            self._dropped.add((edge.a, edge.b))
        return edges

    def _set(self, edge: Evidence) -> Evidence:
        self._near.setdefault(edge.a, {})[edge.b] = edge
        self._near.setdefault(edge.b, {})[edge.a] = edge
        self._put[edge.a, edge.b] = edge
        return edge


def best_first(edge: Evidence) -> tuple[float, str, str]:
    """A total order of edges: the most probable first, ties by ids."""
    return -edge.match.probability, edge.a, edge.b
