"""Approximate search: a graph of shortened vectors finds candidates, and the vectors themselves, in a file, score them.

The graph is a block behind, so that it can change while a block is worked on: it takes in what the block before did as soon
as the last search of this one has its candidates, at the latest when the next block begins (`turn`). Until then the rows of
the block before (`_before`) are searched exactly, as are those of this one (`_new`), and what went is passed over.

What the graph takes in is settled when a block ends. So an answer depends on the rows that came before, and not on how they
were batched; but for a search that is repeated after the last of its block, which the graph may be a block further for.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from consumer.adapters.array_file import read_array, write_array
from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.hnsw_graph import Change, HnswGraph, HnswOptions
from consumer.adapters.projection import Projection
from consumer.adapters.row_file import RowFile
from consumer.layout import DECIMALS
from consumer.ports import Cosines, Hits, Saving, whole
from consumer.records import Floats, Integers

_AT_ONCE = 32
"""Queries whose candidates are scored together: more would leave the processor's cache."""
_GRAPH, _AXES = "graph.bin", "axes.npy"


class HnswIndex:
    """Labels of the graph are slots of the file."""

    def __init__(self, dim: int, options: HnswOptions, projection: Projection, folder: Path | None = None) -> None:
        self._dim = dim
        self._projection = projection
        self._rows = RowFile(dim, folder)
        self._graph = HnswGraph(projection.width(dim), options)
        self._pending: Change | None = None
        """What the block before did, until the graph takes it in."""
        self._before = ExactIndex(dim)
        """Rows of the block before that are still there, until the graph has them."""
        self._leaving: list[int] = []
        """Slots of what went in the block before: the graph drops them no later than at the next turn."""
        self._new = ExactIndex(dim)
        """Rows of this block."""
        self._gone: list[int] = []
        """Slots of what went in this block, and is in the graph or will be."""
        self._last = False
        """Whether no more than one search comes in this block."""

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, record_id: str) -> bool:
        return self._rows.find(record_id) is not None

    # search

    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> list[Hits]:
        before = self._before
        if k == 0 or not len(queries) or not len(self._graph):
            hits = before.search(queries, k, cosines, spare)
        else:
            hits = self._with(before, self._in_graph(queries, k, cosines, spare), queries, k, cosines, spare)
        return self._with(self._new, hits, queries, k, cosines, spare)

    def _in_graph(self, queries: Floats, k: int, cosines: Cosines, spare: int) -> list[Hits]:
        labels = self._graph.nearest(self._projection(queries), k)
        if self._last:
            self._take_in()
        hits: list[Hits] = []
        for first in range(0, len(queries), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            hits += self._scored(queries[part], labels[part], k + spare, cosines)
        return hits

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

    @staticmethod
    def _with(newer: ExactIndex, hits: list[Hits], queries: Floats, k: int, cosines: Cosines, spare: int) -> list[Hits]:
        """These hits and, where they are better, what is newer."""
        if not len(newer):
            return hits
        least = np.asarray([h.scores[-1] if len(h.ids) == k + spare else -np.inf for h in hits], np.float32)
        found = newer.search(queries, k, cosines, spare, least)
        return [old.merged(new, k + spare) for old, new in zip(hits, found, strict=True)]

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
        self._before.remove(ids)
        self._new.remove(ids)

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, list[int]]:
        slots = self._slots(ids)
        return self._rows.vectors(slots), self._rows.named(slots[None])[1][0]

    def newest(self, count: int) -> Floats:
        return self._rows.vectors(self._rows.newest(count))

    def _slots(self, ids: Sequence[str]) -> Integers:
        slots = [self._rows.find(record_id) for record_id in ids]
        if None in slots:
            raise KeyError(ids[slots.index(None)])
        return np.asarray(slots, np.int64)

    # blocks

    def turn(self) -> None:
        """Another block begins."""
        self._take_in()
        self._last = False
        self._rows.release(self._leaving)
        self._leaving, self._gone = self._gone, []
        self._before, self._new = self._new, ExactIndex(self._dim)
        self._pending = self._change(self._leaving, self._before.ids)

    def last_search(self) -> None:
        """The next search is the last in this block."""
        self._last = True

    def _take_in(self) -> None:
        if self._pending is not None:
            self._graph.change(self._pending)
            self._pending, self._before = None, ExactIndex(self._dim)

    def settle(self) -> None:
        """Let the graph have everything, without what is gone and its numbers."""
        for _ in range(2):
            self.turn()

    def _change(self, gone: Sequence[int], ids: Sequence[str]) -> Change:
        slots = self._slots(ids)
        return Change(gone, slots.tolist(), self._projection(self._rows.vectors(slots)))

    # files

    def save(self, directory: Path) -> tuple[dict[str, Any], Saving]:
        """Begin to write everything into an existing directory; what `load` has to be told besides, and what is left to do."""
        if self._gone or self._leaving:  # no number of an erased record may stay, not even a shortened one
            self.settle()
        self._graph.wait()
        if self._projection.axes is not None:
            write_array(directory / _AXES, self._projection.axes)
        rows, saving = self._rows.save(directory)
        told = {"alive": len(self._graph), "before": self._before.ids, "new": self._new.ids, "rows": rows}
        return told, Saving([partial(self._graph.save, directory / _GRAPH), *saving.frozen], saving.beside)

    @classmethod
    def load(
        cls, directory: Path, dim: int, options: HnswOptions, told: dict[str, Any], folder: Path | None
    ) -> "HnswIndex":
        """Read what was saved. Raises OSError, ValueError, KeyError, TypeError or RuntimeError for anything else."""
        axes = read_array(directory / _AXES) if (directory / _AXES).exists() else None
        index = cls(dim, options, Projection(axes), folder)
        index._graph = HnswGraph.load(directory / _GRAPH, index._projection.width(dim), options, told["alive"])
        index._rows = RowFile.load(dim, folder, directory, told["rows"])
        for ids, rows in ((told["before"], index._before), (told["new"], index._new)):
            rows.add(ids, *index.vectors(ids))
        if told["before"]:
            index._pending = index._change([], told["before"])
        return index
