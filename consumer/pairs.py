"""Every candidate pair of some records, scored but not decided: what evaluation and the fitting of a decider look at."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.fusion import DECIMALS, Layout
from consumer.neighbours import compare_rows
from consumer.ports import VectorIndex
from consumer.records import Bools, Floats, Integers, Position, Vector
from consumer.rows import Row, bring_up_to_date

_BATCH = 256
_NOWHERE = Position("", 0, 0)
"""A search does not look at positions."""


@dataclass(frozen=True, slots=True)
class PairTable:
    """Pairs of a record and a candidate that came before it, as the stream's own search finds them; n pairs."""

    ids: Sequence[str]
    """Of the records, in order of arrival."""
    later: Integers
    """[n] number of the record that was searched for."""
    earlier: Integers
    """[n] number of its candidate."""
    similarities: Floats
    """float32 [n, modalities], 0 where one is missing."""
    shared: Integers
    """[n] mask of the modalities both have."""

    def scores(self, layout: Layout, modalities: Sequence[str], min_evidence: float) -> npt.NDArray[np.float64]:
        """The weighted mean of some modalities, float64 [n]; -1 where too little of their weight is there."""
        weights = np.array(
            [w if name in modalities else 0.0 for name, w in zip(layout.names, layout.weights, strict=True)]
        )
        present = ((self.shared[:, None] >> np.arange(len(weights))) & 1) * (weights / weights.sum())
        evidence = present.sum(axis=1)
        means = (present * self.similarities).sum(axis=1) / np.maximum(evidence, 1e-9)
        enough = (evidence > 0) & (evidence >= min_evidence - 1e-9)
        return np.where(enough, np.round(means, DECIMALS), -1.0)

    def same(self, truth: Mapping[str, Hashable]) -> Bools:
        """Whether the two of each pair are one by the truth, bool [n]; records it lacks are nobody's duplicate."""
        numbers: dict[Hashable, int] = {}
        owners = np.array([numbers.setdefault(truth.get(r, ("alone", r)), len(numbers)) for r in self.ids], np.int64)
        return np.asarray(owners[self.later] == owners[self.earlier])

    def take(self, chosen: Bools) -> "PairTable":
        """Some of the pairs."""
        return PairTable(
            self.ids, self.later[chosen], self.earlier[chosen], self.similarities[chosen], self.shared[chosen]
        )


def candidate_pairs(
    vectors: Sequence[Vector], layout: Layout, new_index: Callable[[], VectorIndex], k: int
) -> PairTable:
    """Search for each vector among those before it, scope by scope; the last vector of a record counts."""
    latest = {vector.id: vector for vector in vectors}
    numbers = {record_id: number for number, record_id in enumerate(latest)}
    scopes: dict[str, list[Vector]] = {}
    for vector in latest.values():
        scopes.setdefault(vector.scope, []).append(vector)
    later: list[int] = []
    earlier: list[int] = []
    similarities, shared = [np.zeros((0, len(layout.names)), np.float32)], [np.zeros(0, np.int64)]
    for members in scopes.values():
        index = new_index()
        for start in range(0, len(members), _BATCH):
            rows = [Row(vector, _NOWHERE) for vector in members[start : start + _BATCH]]
            found = compare_rows(rows, index, layout, k)
            later += [numbers[rows[row].item.id] for row in found.rows]
            earlier += [numbers[record_id] for record_id in found.ids]
            similarities.append(found.similarities)
            shared.append(found.shared)
            bring_up_to_date(index, rows)
    return PairTable(
        ids=list(latest),
        later=np.array(later, np.int64),
        earlier=np.array(earlier, np.int64),
        similarities=np.concatenate(similarities),
        shared=np.concatenate(shared),
    )
