"""hnswlib as the index needs it: any size, changes on a thread of their own, and a search that always answers.

hnswlib needs no lock of Python's, so a change goes on beside whatever else is done, until somebody needs the graph.
"""

import errno
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np

from consumer.records import Floats, Integers

_GROWTH, _SLACK = 1.125, 1024
"""A place in the graph that is not used yet takes memory too."""
LARGE = 200_000
"""Elements from which a search is worth more cores than one: they are taken from broker and Redis (docs/performance.md)."""
_CHANGES = ThreadPoolExecutor(1, "graph")
"""Where graphs change, one at a time: the other cores are not this process's alone."""


@dataclass(frozen=True, slots=True)
class HnswOptions:
    """The graph's parameters, in the field's names, and how far vectors are shortened for it."""

    dims: int = 64
    m: int = 12
    ef_construction: int = 100
    ef: int = 96
    threads: int = 2

    def search_threads(self, elements: int) -> int:
        """Threads of a search among so many: one until `LARGE`."""
        return self.threads if elements >= LARGE else 1


@dataclass(frozen=True, slots=True)
class Change:
    """Elements to delete, with their numbers, and others to add or replace."""

    gone: Sequence[int]
    labels: Sequence[int]
    vectors: Floats
    """float32 [labels, dim]."""


class HnswGraph:
    """Vectors by label, searched by inner product."""

    def __init__(self, dim: int, options: HnswOptions) -> None:
        self._dim = dim
        self._options = options
        self._graph = self._empty()
        self._change: Future[None] | None = None
        """What is being changed, until somebody needs the graph."""
        self._alive = 0

    def _empty(self) -> hnswlib.Index:
        options = self._options
        graph = hnswlib.Index(space="ip", dim=self._dim)
        graph.init_index(_SLACK, M=options.m, ef_construction=options.ef_construction, random_seed=7)
        return graph

    def __len__(self) -> int:
        """Elements that are not deleted, once all changes are through."""
        return self._alive

    def change(self, change: Change) -> None:
        """Start a change; the one before is waited for."""
        self.wait()
        gone = change.gone
        if gone and len(gone) == self._alive:
            self._graph, gone = self._empty(), []
        if gone or change.labels:
            self._change = _CHANGES.submit(_change, self._graph, gone, change.labels, change.vectors)
        self._alive += len(change.labels) - len(change.gone)

    def wait(self) -> None:
        """Until no change goes on. Raises what hnswlib raised."""
        if self._change is not None:
            self._change.result()
            self._change = None

    def nearest(self, queries: Floats, k: int) -> Integers:
        """Labels [n, k] of the k nearest to each of float32 [n, dim], or of `ef` or all there are; -1 where fewer are reached."""
        self.wait()
        options = self._options
        self._graph.set_ef(max(options.ef, k))
        return self._reached(queries, min(max(options.ef, k), self._alive))

    def _reached(self, queries: Floats, k: int) -> Integers:
        """Where fewer than k are reached, hnswlib fails the whole call."""
        try:
            labels, _ = self._graph.knn_query(queries, k, num_threads=self._options.search_threads(self._alive))
            return np.asarray(labels, np.int64)
        except RuntimeError:
            if len(queries) > 1:
                return np.concatenate([self._reached(query[None], k) for query in queries])
            fewer = self._reached(queries, k // 2) if k > 1 else np.zeros((1, 0), np.int64)
            return np.pad(fewer, ((0, 0), (0, k - fewer.shape[1])), constant_values=-1)

    def save(self, path: Path) -> None:
        """Write it into a file. Raises OSError when that has no room."""
        self.wait()
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():  # hnswlib does not look
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    @classmethod
    def load(cls, path: Path, dim: int, options: HnswOptions, alive: int) -> "HnswGraph":
        """Read what `save` wrote of a graph with so many elements. Raises RuntimeError for anything else."""
        graph = cls(dim, options)
        graph._graph = hnswlib.Index(space="ip", dim=dim)
        graph._graph.load_index(str(path))
        graph._alive = alive
        return graph


def _change(graph: hnswlib.Index, gone: Sequence[int], labels: Sequence[int], vectors: Floats) -> None:
    if gone:
        graph.add_items(np.zeros((len(gone), graph.dim), np.float32), gone, num_threads=1)
        for label in gone:
            graph.mark_deleted(label)
    if labels:
        highest = max(labels) + 1
        if highest > graph.get_max_elements():
            graph.resize_index(int(highest * _GROWTH) + _SLACK)
        graph.add_items(vectors, labels, num_threads=1)
