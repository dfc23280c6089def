"""Vector indexes in tests: the plain model that they are measured by, and what fills and compares both."""

from collections.abc import Sequence
from itertools import count
from typing import Protocol

import pytest

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.hnsw_index import HnswIndex
from consumer.layout import DECIMALS
from consumer.ports import Cosines, Hits, whole
from consumer.records import Floats

DIM = 16
OPTIONS = HnswOptions()
_BLOCKS = count()


class Searchable(Protocol):
    """VectorIndex without `save`, which only GrowingIndex has: the other two are its parts."""

    def __len__(self) -> int: ...
    def __contains__(self, record_id: str) -> bool: ...
    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> Sequence[Hits]: ...
    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Sequence[int]]: ...
    def newest(self, count: int) -> Floats: ...


class Model:
    """The same promises in the plainest way: a dict, oldest first."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Floats, int]] = {}

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.remove(ids)
        self.rows.update({r: (v, m) for r, v, m in zip(ids, vectors, masks, strict=True)})

    def remove(self, ids: Sequence[str]) -> None:
        for record_id in ids:
            self.rows.pop(record_id, None)

    def search(self, queries: Floats, k: int) -> tuple[list[list[str]], list[list[float]]]:
        found, scores = [], []
        for query in queries:
            scored = [(round(float(query @ v), DECIMALS), r) for r, (v, _) in self.rows.items()]
            best = sorted(scored, key=lambda pair: -pair[0])[:k]
            found.append([r for _, r in best])
            scores.append([s for s, _ in best])
        return found, scores


def names(start: int, end: int) -> list[str]:
    return [f"r{i}" for i in range(start, end)]


def fill(target: Searchable | Model, rows: Floats, first: int = 0, batch: int = 37) -> None:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ids = names(first + start, first + start + len(part))
        target.add(ids, part, [int(r[1:]) % 32 for r in ids])
        turn(target)


def turn(target: Searchable | Model) -> None:
    """On to the next block."""
    if isinstance(target, GrowingIndex):
        target.turn_to(next(_BLOCKS))
    elif isinstance(target, HnswIndex):
        target.settle()


def look(index: Searchable, queries: Floats, k: int) -> tuple[list[list[str]], list[Floats]]:
    """Ids and scores of a search."""
    hits = index.search(queries, k)
    return [list(one.ids) for one in hits], [one.scores for one in hits]


def check(index: Searchable, model: Model, queries: Floats, k: int, least_recall: float) -> None:
    """Both find the same; an approximate index nearly the same, with true scores in order."""
    found, scores = look(index, queries, k)
    wanted, wanted_scores = model.search(queries, k)
    assert len(found) == len(scores) == len(queries)
    if least_recall == 1:
        # sums in another order may round to another last digit, and so swap neighbours that are all but equal
        for mine, theirs in zip(scores, wanted_scores, strict=True):
            assert mine == pytest.approx(theirs, abs=2.1 * 10**-DECIMALS)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True))
    assert hits >= least_recall * sum(map(len, wanted)) - (2 if least_recall == 1 else 0)
    for query, ids, row in zip(queries, found, scores, strict=True):
        assert len(set(ids)) == len(ids) == len(row)
        assert list(row) == sorted(row, reverse=True)
        true = [float(query @ model.rows[r][0]) for r in ids]
        assert list(row) == pytest.approx(true, abs=2.1 * 10**-DECIMALS)
