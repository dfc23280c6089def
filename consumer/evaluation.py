"""Scores of a clustering against the truth, and the clustering that a reader of the events alone arrives at."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and their harmonic mean; each 1.0 where there was nothing to get wrong."""

    precision: float
    recall: float
    f1: float


def pairwise(truth: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> Scores:
    """Over pairs of records that are in one cluster. Records of `truth` that `found` lacks stand alone."""
    true_pairs = _pairs(Counter(truth.values()))
    found_pairs = _pairs(Counter(found[r] for r in truth if r in found))
    both = _pairs(Counter((truth[r], found[r]) for r in truth if r in found))
    return _scores(_share(both, found_pairs), _share(both, true_pairs))


def b_cubed(truth: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> Scores:
    """B³ (Bagga and Baldwin 1998): the mean over records of the precision and recall of the record's own cluster."""
    if not truth:
        return _scores(1.0, 1.0)
    placed = {r: found.get(r, ("alone", r)) for r in truth}
    true_sizes, found_sizes = Counter(truth.values()), Counter(placed.values())
    both = Counter((truth[r], placed[r]) for r in truth)
    precision = sum(n * n / found_sizes[f] for (_, f), n in both.items()) / len(truth)
    recall = sum(n * n / true_sizes[t] for (t, _), n in both.items()) / len(truth)
    return _scores(precision, recall)


class EventView:
    """What is known from cluster events alone. Repeats and any order between clusters are harmless.

    Membership is kept per cluster and a record's cluster is the live one that has it; within one cluster versions only
    grow, so an event already seen is skipped.
    """

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._members: dict[str, set[str]] = {}
        self.gaps: list[str] = []
        """Events whose version did not follow the one before: none, ever, if the promise holds."""

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Take in one CloudEvent of the events topic; False when it was seen before."""
        data = event["data"]
        cluster_id, version = data["cluster_id"], data["version"]
        last = self._versions.get(cluster_id, 0)
        if version <= last:
            return False
        if version != last + 1:
            self.gaps.append(f"{cluster_id}: {last} → {version}")
        self._versions[cluster_id] = version
        members = self._members.setdefault(cluster_id, set())
        members.update(data["added"])
        members.difference_update(data["removed"])
        if not members:
            del self._members[cluster_id]
        return True

    @property
    def clusters(self) -> Mapping[str, set[str]]:
        """Live clusters."""
        return self._members

    @property
    def assignments(self) -> dict[str, str]:
        """Record → cluster, for records in one."""
        return {record: cid for cid, members in self._members.items() for record in members}


def _pairs(sizes: Mapping[Any, int]) -> int:
    return sum(n * (n - 1) // 2 for n in sizes.values())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _scores(precision: float, recall: float) -> Scores:
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Scores(round(precision, 4), round(recall, 4), round(f1, 4))
