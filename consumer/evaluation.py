"""Scores of a clustering against the truth, and the clustering that a reader of the events alone arrives at."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consumer.records import Doubles

_DRAWS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and their harmonic mean; each 1.0 where there was nothing to get wrong."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Where 95 % of bootstrap draws fall."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How each record's cluster agrees with its true one. Counts are of *other* records, float64 [n].

    Every score below is a ratio of sums over records, which is what makes the bootstrap a matter of weights.
    """

    both: Doubles
    """Others in the true and in the found cluster."""
    found: Doubles
    true: Doubles
    groups: npt.NDArray[np.int64]
    """[n] number of the true cluster: what the bootstrap draws."""

    def pairwise(self) -> Scores:
        """Over pairs of records that are in one cluster."""
        return _pairwise(*(float(part.sum()) for part in (self.both, self.found, self.true)))

    def b_cubed(self) -> Scores:
        """B³ (Bagga and Baldwin 1998): the mean over records of the precision and recall of the record's own cluster."""
        if not len(self.both):
            return _scores(1.0, 1.0)
        return _scores(*(float(part.mean()) for part in self._b_cubed_parts()))

    def intervals(self, draws: int, seed: int) -> tuple[dict[str, Interval], dict[str, Interval]]:
        """Bootstrap over true clusters, drawn with replacement: intervals of pairwise and of B³ scores by name.

        A cluster is drawn whole, since records of one cluster are not independent of each other.
        """
        rng = np.random.default_rng(seed)
        parts = np.stack([self.both, self.found, self.true, *self._b_cubed_parts(), np.ones(len(self.both))], axis=1)
        groups = int(self.groups.max(initial=-1)) + 1
        sums = np.zeros((groups, parts.shape[1]))
        np.add.at(sums, self.groups, parts)
        drawn = np.zeros((draws if groups else 0, parts.shape[1]))
        for start in range(0, len(drawn), _DRAWS_AT_ONCE):
            part = drawn[start : start + _DRAWS_AT_ONCE]
            part[:] = rng.multinomial(groups, np.full(groups, 1 / groups), size=len(part)) @ sums
        pairs = [_pairwise(*row[:3]) for row in drawn.tolist()]
        cubes = [_scores(row[3] / row[5], row[4] / row[5]) for row in drawn.tolist()]
        return _intervals(pairs), _intervals(cubes)

    def _b_cubed_parts(self) -> tuple[Doubles, Doubles]:
        return (self.both + 1) / (self.found + 1), (self.both + 1) / (self.true + 1)


def overlap(
    truth: Mapping[str, Hashable], found: Mapping[str, Hashable], sources: Mapping[str, Hashable] | None = None
) -> Overlap:
    """Compare two clusterings. Records of `truth` that `found` lacks stand alone.

    With `sources`, pairs of records of one source count neither as right nor as wrong.
    """
    rows = [(t, found.get(r, ("alone", r)), r if sources is None else sources.get(r)) for r, t in truth.items()]
    true, true_own = Counter(t for t, _, _ in rows), Counter((t, s) for t, _, s in rows)
    placed, placed_own = Counter(f for _, f, _ in rows), Counter((f, s) for _, f, s in rows)
    both, both_own = Counter((t, f) for t, f, _ in rows), Counter(rows)
    numbers = {t: number for number, t in enumerate(dict.fromkeys(truth.values()))}
    return Overlap(
        both=np.array([both[t, f] - both_own[t, f, s] for t, f, s in rows], np.float64),
        found=np.array([placed[f] - placed_own[f, s] for _, f, s in rows], np.float64),
        true=np.array([true[t] - true_own[t, s] for t, _, s in rows], np.float64),
        groups=np.array([numbers[t] for t, _, _ in rows], np.int64),
    )


def pairwise(truth: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> Scores:
    """Over pairs of records that are in one cluster."""
    return overlap(truth, found).pairwise()


def b_cubed(truth: Mapping[str, Hashable], found: Mapping[str, Hashable]) -> Scores:
    """B³: see `Overlap.b_cubed`."""
    return overlap(truth, found).b_cubed()


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


def _pairwise(both: float, found: float, true: float) -> Scores:
    return _scores(both / found if found else 1.0, both / true if true else 1.0)


def _scores(precision: float, recall: float) -> Scores:
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Scores(round(precision, 4), round(recall, 4), round(f1, 4))


def _intervals(drawn: list[Scores]) -> dict[str, Interval]:
    if not drawn:
        return {}
    ends = np.percentile([[s.precision, s.recall, s.f1] for s in drawn], [2.5, 97.5], axis=0).round(4).tolist()
    return {name: Interval(low, high) for name, low, high in zip(("precision", "recall", "f1"), *ends, strict=True)}
