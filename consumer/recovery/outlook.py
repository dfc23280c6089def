"""What another model would make of the clusters that were told: the difference before a switch, in numbers and examples."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

EXAMPLES = 10
_MEMBERS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Example:
    """One change, by some of the records it concerns."""

    scope: str
    clusters: Sequence[str]
    """As they are told now."""
    groups: Sequence[Sequence[str]]
    """Records that are together after it, a group each; of a large one the first."""


@dataclass(slots=True)
class Outlook:
    """Clusters now beside those of the new models, over records that both know."""

    records: int = 0
    clusters_now: int = 0
    clusters_then: int = 0
    unchanged: int = 0
    """Clusters that hold the same records."""
    merges: int = 0
    """Clusters then that hold records of two or more clusters now."""
    splits: int = 0
    """Clusters now whose records will not be together any more."""
    grown: int = 0
    """Clusters that records join which stand alone now, and nothing else."""
    created: int = 0
    """Clusters of records that all stand alone now."""
    pairs_now: int = 0
    """Pairs of records that are together."""
    pairs_then: int = 0
    pairs_both: int = 0
    merge_examples: list[Example] = field(default_factory=list)
    split_examples: list[Example] = field(default_factory=list)

    def add(self, scope: str, now: Mapping[str, str], then: Mapping[str, str], records: Iterable[str]) -> None:
        """Count one scope: record → cluster now and then; `records` are those that both know."""
        known = set(records)
        self.records += len(known)
        before = _members({r: cid for r, cid in now.items() if r in known})
        after = _members({r: cid for r, cid in then.items() if r in known})
        self.clusters_now += sum(len(members) > 1 for members in before.values())
        self.clusters_then += sum(len(members) > 1 for members in after.values())
        for cid, members in before.items():
            parts = _parts(members, then)
            if len(members) > 1 and len(parts) > 1:
                self.splits += 1
                _keep(self.split_examples, Example(scope, [cid], [_shown(part) for part in parts]))
        for members in after.values():
            self._count_made(scope, members, now, before)
        self.pairs_now += sum(_pairs(len(members)) for members in before.values())
        self.pairs_then += sum(_pairs(len(members)) for members in after.values())
        common = Counter((now[r], then[r]) for r in known if r in now and r in then)
        self.pairs_both += sum(_pairs(count) for count in common.values())

    def _count_made(
        self, scope: str, members: Sequence[str], now: Mapping[str, str], before: Mapping[str, Sequence[str]]
    ) -> None:
        """Say of a cluster then what it is made of."""
        origins = sorted({now[r] for r in members if r in now})
        if len(members) < 2:
            return
        if not origins:
            self.created += 1
        elif len(origins) > 1:
            self.merges += 1
            _keep(self.merge_examples, Example(scope, origins, [_shown(members)]))
        elif set(members) == set(before[origins[0]]):
            self.unchanged += 1
        elif set(members) > set(before[origins[0]]):
            self.grown += 1


def _members(assigned: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for record_id in sorted(assigned):
        found[assigned[record_id]].append(record_id)
    return dict(found)


def _parts(members: Sequence[str], then: Mapping[str, str]) -> list[list[str]]:
    """The members, by where they are then; each that stands alone a part of its own."""
    parts: dict[tuple[str, str], list[str]] = {}
    for record_id in members:
        home = (then[record_id], "") if record_id in then else ("", record_id)
        parts.setdefault(home, []).append(record_id)
    return list(parts.values())


def _keep(examples: list[Example], example: Example) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)


def _shown(members: Sequence[str]) -> Sequence[str]:
    return list(members[:_MEMBERS_SHOWN])


def _pairs(count: int) -> int:
    return count * (count - 1) // 2
