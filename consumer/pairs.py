"""Every candidate pair of some records, scored but not decided: what evaluation and the fitting of a decider look at."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.comparison import Comparison
from consumer.layout import Layout
from consumer.neighbours import compare_rows
from consumer.ports import VectorIndex
from consumer.records import Bools, Integers, Position, Vector
from consumer.rows import BLOCK_OFFSETS, Row, bring_up_to_date
from consumer.whitening import Whitening, renewed


@dataclass(frozen=True, slots=True)
class PairTable:
    """Pairs of a record and a candidate that came before it, as the stream's own search finds them; n pairs."""

    ids: Sequence[str]
    """Of the records, in order of arrival."""
    pairs: Comparison
    """Its rows are the numbers of the records that were searched for."""
    earlier: Integers
    """[n] number of the candidate."""

    @property
    def later(self) -> Integers:
        """[n] number of the record that was searched for."""
        return self.pairs.rows

    def same(self, truth: Mapping[str, Hashable]) -> Bools:
        """Whether the two of each pair are one by the truth, bool [n]; records it lacks are nobody's duplicate."""
        numbers: dict[Hashable, int] = {}
        owners = np.array([numbers.setdefault(truth.get(r, ("alone", r)), len(numbers)) for r in self.ids], np.int64)
        return np.asarray(owners[self.later] == owners[self.earlier])

    def take(self, chosen: Bools) -> "PairTable":
        """Some of the pairs."""
        return PairTable(self.ids, self.pairs.take(chosen), self.earlier[chosen])


def candidate_pairs(
    vectors: Sequence[Vector],
    layout: Layout,
    new_index: Callable[[], VectorIndex],
    k: int,
    whitened: Sequence[str] = (),
) -> PairTable:
    """Search for each vector among those before it, scope by scope; the last vector of a record counts."""
    latest = {vector.id: vector for vector in vectors}
    numbers = {record_id: number for number, record_id in enumerate(latest)}
    spans = layout.spans(whitened)
    scopes: dict[str, list[Vector]] = {}
    for vector in latest.values():
        scopes.setdefault(vector.scope, []).append(vector)
    later, earlier = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    ids: list[str] = []
    similarities, masks = [np.zeros((0, len(layout.names)), np.float32)], [np.zeros((0, 2), np.int64)]
    for members in scopes.values():
        index, whitening = new_index(), Whitening()
        for start in range(0, len(members), BLOCK_OFFSETS):
            part = enumerate(members[start : start + BLOCK_OFFSETS], start)
            rows = [Row(vector, Position("", 0, number)) for number, vector in part]
            index.turn_to(start // BLOCK_OFFSETS)
            whitening = renewed(whitening, index, spans)
            found = compare_rows(rows, index, layout, whitening, k)
            of_rows = np.array([numbers[vector.id] for vector in members[start : start + BLOCK_OFFSETS]], np.int64)
            later.append(of_rows[found.rows])
            earlier.append(np.array([numbers[record_id] for record_id in found.ids], np.int64))
            ids += found.ids
            similarities.append(found.similarities)
            masks.append(found.masks)
            bring_up_to_date(index, rows)
    pairs = Comparison(np.concatenate(later), ids, np.concatenate(similarities), np.concatenate(masks))
    return PairTable(list(latest), pairs, np.concatenate(earlier))
