"""The graph of evidence between records: which edges there are, what they hold together, what of it changed."""

from collections.abc import Collection, Mapping

from consumer.records import Evidence, Match

Pair = tuple[str, str]


class EvidenceGraph:
    """A working copy of the edges of a neighbourhood, remembering what was put in and what was taken out."""

    def __init__(self, edges: Mapping[str, Mapping[str, Evidence]]) -> None:
        self._near = {record: dict(found) for record, found in edges.items()}
        self._put: dict[Pair, Evidence] = {}
        self._dropped: set[Pair] = set()

    @property
    def put(self) -> list[Evidence]:
        """Edges that are new, or replaced what was there."""
        return list(self._put.values())

    @property
    def dropped(self) -> list[Pair]:
        """Pairs that had an edge and have none now."""
        return sorted(self._dropped - self._put.keys())

    def link(self, record_id: str, match: Match, held: str | None) -> Evidence:
        """Put in the edge of a match, replacing one between the same two records."""
        a, b = sorted((record_id, match.id))
        edge = Evidence(a, b, match, held)
        self._near.setdefault(a, {})[b] = edge
        self._near.setdefault(b, {})[a] = edge
        self._put[a, b] = edge
        return edge

    def drop(self, record_id: str) -> list[Evidence]:
        """Take out every edge of a record, and return them."""
        edges = list(self._near.pop(record_id, {}).values())
        for edge in edges:
            self._near.get(edge.other(record_id), {}).pop(record_id, None)
            self._put.pop((edge.a, edge.b), None)
            self._dropped.add((edge.a, edge.b))
        return edges

    def duplicates_between(self, left: Collection[str], right: Collection[str]) -> int:
        """How many pairs across two disjoint groups are above the duplicate threshold, held or not."""
        few, many = sorted((set(left), set(right)), key=len)
        return sum(o in many and e.match.duplicate for r in few for o, e in self._near.get(r, {}).items())

    def components(self, records: Collection[str]) -> list[set[str]]:
        """What the joining edges among some records make of them, in the order of their least ids."""
        rest, found = set(records), []
        while rest:
            reached, frontier = set[str](), [min(rest)]
            while frontier:
                record = frontier.pop()
                reached.add(record)
                edges = self._near.get(record, {})
                frontier += [o for o, edge in edges.items() if edge.joins and o in rest and o not in reached]
            found.append(reached)
            rest -= reached
        return found

    def apart_within(self, records: Collection[str]) -> dict[Pair, Evidence]:
        """Edges among some records that do not join: nobody is asked about them while other edges do."""
        near = (edge for r in records for edge in self._near.get(r, {}).values() if not edge.joins)
        return {(e.a, e.b): e for e in near if e.a in records and e.b in records}
