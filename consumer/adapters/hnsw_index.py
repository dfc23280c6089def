"""Approximate search: a graph of shortened vectors finds candidates, and the vectors themselves, in a file, score them.

The graph changes at the turns of blocks only (`turn_to`); what came since is searched by itself, exactly, and what went
since is passed over. So an answer depends on the rows that came before, and not on how they were batched.

A turn goes on beside whatever else is done, until the next search: hnswlib needs no lock of Python's meanwhile.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.projection import Projection
from consumer.adapters.row_file import RowFile
from consumer.layout import DECIMALS
from consumer.ports import Cosines, Hits, whole
from consumer.records import Floats, Integers

_AT_ONCE = 32
"""Queries whose candidates are scored together: more would leave the processor's cache."""
_GROWTH, _SLACK = 1.125, 1024
"""A place in the graph that is not used yet takes memory too."""
_GRAPH, _AXES = "graph.bin", "axes.npy"
_TURNS = ThreadPoolExecutor(1, "graph")
"""Where graphs change, one at a time: the other cores are not this process's alone."""


@dataclass(frozen=True, slots=True)
class HnswOptions:
    """The graph's parameters, in the field's names, and how far vectors are shortened for it."""

    dims: int = 64
    m: int = 12
    ef_construction: int = 100
    ef: int = 96
    threads: int = 1


class HnswIndex:
    """Labels of the graph are slots of the file. What is added or removed shows in the graph after `settle`."""

    def __init__(self, dim: int, options: HnswOptions, projection: Projection, folder: Path | None = None) -> None:
        self._dim = dim
        self._options = options
        self._projection = projection
        self._rows = RowFile(dim, folder)
        self._graph = self._empty_graph()
        self._turn: Future[None] | None = None
        """What changes the graph, until somebody needs it."""
        self._alive = 0
        """Of the graph's elements, those not deleted: `_gone` counts, what is new does not."""
        self._gone: list[int] = []
        self._new = ExactIndex(dim)

    def _empty_graph(self) -> hnswlib.Index:
        options = self._options
        graph = hnswlib.Index(space="ip", dim=self._projection.width(self._dim))
        graph.init_index(_SLACK, M=options.m, ef_construction=options.ef_construction, random_seed=7)
        return graph

    def __len__(self) -> int:
        return self._alive - len(self._gone) + len(self._new)

    def __contains__(self, record_id: str) -> bool:
        return self._rows.find(record_id) is not None

    @property
    def ids(self) -> list[str]:
        """Ids, oldest first."""
        return [self._rows.id(slot) for slot in self._rows.slots()]

    # search

    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> list[Hits]:
        if k == 0 or self._alive == 0 or not len(queries):
            return self._new.search(queries, k, cosines, spare)
        labels = self._nearest(self._projection(queries), min(max(self._options.ef, k), self._alive))
        old: list[Hits] = []
        for first in range(0, len(queries), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            old += self._scored(queries[part], labels[part], k + spare, cosines)
        least = np.asarray([h.scores[-1] if len(h.ids) == k + spare else -np.inf for h in old], np.float32)
        new = self._new.search(queries, k, cosines, spare, least)
        return [hits.merged(newer, k + spare) for hits, newer in zip(old, new, strict=True)]

    def _nearest(self, queries: Floats, k: int) -> Integers:
        """Labels of each query, -1 where fewer are reached: then hnswlib fails the whole call."""
        graph = self._turned()
        graph.set_ef(max(self._options.ef, k))
        try:
            labels, _ = graph.knn_query(queries, k, num_threads=self._options.threads)
            return np.asarray(labels, np.int64)
        except RuntimeError:
            if len(queries) > 1:
                return np.concatenate([self._nearest(query[None], k) for query in queries])
            fewer = self._nearest(queries, k // 2) if k > 1 else np.zeros((1, 0), np.int64)
            return np.pad(fewer, ((0, 0), (0, k - fewer.shape[1])), constant_values=-1)

    def _scored(self, queries: Floats, labels: Integers, k: int, cosines: Cosines) -> list[Hits]:
        """The best k of each query's candidates, by the vectors themselves; what is gone is none."""
        vectors, ages = self._rows.vectors(labels), self._rows.ages(labels)
        # each pair by itself, so that no sum depends on the shape of the batch
        scores = np.round(np.einsum("qcd,qd->qc", vectors, queries), DECIMALS)
        scores[(ages == 0) | (labels < 0)] = -np.inf
        best = np.lexsort((ages, -scores))[:, :k]
        scores, labels = np.take_along_axis(scores, best, 1), np.take_along_axis(labels, best, 1)
        vectors = vectors[np.arange(len(queries))[:, None], best]
        alike = cosines(vectors, queries[:, None, :])
        ids, masks = self._rows.named(labels)
        counts = (scores > -np.inf).sum(axis=1).tolist()
        return [Hits(ids[i][:n], scores[i, :n], alike[i, :n], masks[i][:n]) for i, n in enumerate(counts)]

    # rows

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.remove(ids)
        self._rows.add(ids, vectors, masks)
        self._new.add(ids, vectors, masks)

    def remove(self, ids: Sequence[str]) -> None:
        for record_id in ids:
            slot = self._rows.remove(record_id)
            if slot is None:
                continue
            if record_id in self._new:
                self._rows.release([slot])
            else:
                self._gone.append(slot)
        self._new.remove(ids)

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, list[int]]:
        slots = np.asarray([self._slot(record_id) for record_id in ids], np.int64)
        return self._rows.vectors(slots), self._rows.named(slots[None])[1][0]

    def newest(self, count: int) -> Floats:
        return self._rows.vectors(np.asarray(self._rows.slots()[-count:], np.int64))

    def _slot(self, record_id: str) -> int:
        slot = self._rows.find(record_id)
        if slot is None:
            raise KeyError(record_id)
        return slot

    def settle(self) -> None:
        """Take into the graph what was added, and out of it what was removed, with its numbers."""
        self._turned()
        gone, slots = self._gone, [self._slot(record_id) for record_id in self._new.ids]
        if gone and len(gone) == self._alive:
            self._graph, gone = self._empty_graph(), []
        if gone or slots:
            vectors = self._projection(self._rows.vectors(np.asarray(slots, np.int64)))
            self._turn = _TURNS.submit(_change, self._graph, gone, slots, vectors)
        self._rows.release(self._gone)
        self._alive += len(slots) - len(self._gone)
        self._gone, self._new = [], ExactIndex(self._dim)

    def _turned(self) -> hnswlib.Index:
        """The graph, once it has changed. Raises what hnswlib raised."""
        if self._turn is not None:
            self._turn.result()
            self._turn = None
        return self._graph

    # files

    def save(self, directory: Path) -> dict[str, Any]:
        """Write everything into an existing directory; what `load` has to be told besides."""
        if self._gone:  # no number of an erased record may stay, not even a shortened one
            self.settle()
        self._turned().save_index(str(directory / _GRAPH))
        if self._projection.axes is not None:
            np.save(directory / _AXES, self._projection.axes)
        return {"alive": self._alive, "new": self._new.ids, "rows": self._rows.save(directory)}

    @classmethod
    def load(
        cls, directory: Path, dim: int, options: HnswOptions, told: dict[str, Any], folder: Path | None
    ) -> "HnswIndex":
        """Read what `save` wrote. Raises OSError, ValueError, KeyError, TypeError or RuntimeError for anything else."""
        axes = None
        if (directory / _AXES).exists():
            with (directory / _AXES).open("rb") as file:  # `np.load` would guess what else the file may be
                axes = np.lib.format.read_array(file, allow_pickle=False)
        index = cls(dim, options, Projection(axes), folder)
        index._graph = hnswlib.Index(space="ip", dim=index._projection.width(dim))
        index._graph.load_index(str(directory / _GRAPH))
        index._rows = RowFile.load(dim, folder, directory, told["rows"])
        index._alive = told["alive"]
        new = told["new"]
        if new:
            index._new.add(new, *index.vectors(new))
        return index


def _change(graph: hnswlib.Index, gone: Sequence[int], slots: Sequence[int], vectors: Floats) -> None:
    """Delete elements, with their numbers, and add or replace others [slots, dims]."""
    if gone:
        graph.add_items(np.zeros((len(gone), graph.dim), np.float32), gone, num_threads=1)
        for slot in gone:
            graph.mark_deleted(slot)
    if slots:
        highest = max(slots) + 1
        if highest > graph.get_max_elements():
            graph.resize_index(int(highest * _GROWTH) + _SLACK)
        graph.add_items(vectors, slots, num_threads=1)
