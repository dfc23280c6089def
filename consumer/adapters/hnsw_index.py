"""Approximate search with hnswlib, by inner product, growing as it fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from consumer.fusion import DECIMALS
from consumer.records import Floats


@dataclass(frozen=True, slots=True)
class HnswOptions:
    """The graph's parameters, in the field's names."""

    m: int = 16
    ef_construction: int = 128
    ef: int = 96
    threads: int = 1


class HnswIndex:
    """A graph over labels that count up; ids and masks stand beside it. A removed label's place is used again."""

    def __init__(self, dim: int, options: HnswOptions, capacity: int = 1024) -> None:
        self._dim = dim
        self._options = options
        self._graph = hnswlib.Index(space="ip", dim=dim)
        self._graph.init_index(
            max_elements=capacity,
            M=options.m,
            ef_construction=options.ef_construction,
            random_seed=7,
            allow_replace_deleted=True,
        )
        self._labels: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._masks: dict[int, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._labels)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._labels

    @property
    def ids(self) -> list[str]:
        """Ids, oldest first."""
        return list(self._labels)

    def search(self, queries: Floats, k: int) -> tuple[list[list[str]], list[Floats]]:
        found: list[list[str]] = []
        scores: list[Floats] = []
        for labels, distances in self._knn(queries, min(k, len(self))):
            score = np.round(1 - distances, DECIMALS)
            order = np.lexsort((labels, -score))  # the lower label is the older
            found.append([self._ids[label] for label in labels[order].tolist()])
            scores.append(score[order])
        return found, scores

    def _knn(self, queries: Floats, k: int) -> list[tuple[np.ndarray, Floats]]:
        """Labels and distances of each query. hnswlib fails a whole call when one query reaches fewer than k."""
        if k == 0 or not len(queries):
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
        self._graph.set_ef(max(self._options.ef, k))
        try:
            labels, distances = self._graph.knn_query(queries, k, num_threads=self._options.threads)
            return list(zip(labels.astype(np.int64), distances, strict=True))
        except RuntimeError:
            if len(queries) == 1:
                return self._knn(queries, k // 2)
            return [answer for query in queries for answer in self._knn(query[None], k)]

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.remove(ids)
        needed = self._graph.get_current_count() + len(ids)
        if needed > self._graph.get_max_elements():
            self._graph.resize_index(max(needed, 2 * self._graph.get_max_elements()))
        labels = np.arange(self._next, self._next + len(ids))
        self._graph.add_items(vectors, labels, num_threads=1, replace_deleted=True)
        self._next += len(ids)
        for record_id, label, mask in zip(ids, labels.tolist(), masks, strict=True):
            self._labels[record_id] = label
            self._ids[label] = record_id
            self._masks[label] = mask

    def remove(self, ids: Sequence[str]) -> None:
        for record_id in ids:
            label = self._labels.pop(record_id, None)
            if label is not None:
                self._graph.mark_deleted(label)
                del self._ids[label], self._masks[label]

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, list[int]]:
        labels = [self._labels[record_id] for record_id in ids]
        if not labels:
            return np.zeros((0, self._dim), np.float32), []
        values = np.asarray(self._graph.get_items(labels, return_type="numpy"), np.float32)
        return values, [self._masks[label] for label in labels]

    def save_graph(self, path: Path) -> None:
        """Write the graph; ids, labels and masks are the caller's to keep (`labels_and_masks`)."""
        self._scrub()
        self._graph.save_index(str(path))

    def _scrub(self) -> None:
        """Overwrite deleted vectors: hnswlib keeps their numbers until a new vector takes their place."""
        count = self._graph.get_current_count() - len(self)
        if count == 0:
            return
        labels = np.arange(self._next, self._next + count)
        self._next += count
        self._graph.add_items(np.zeros((count, self._dim), np.float32), labels, num_threads=1, replace_deleted=True)
        for label in labels.tolist():
            self._graph.mark_deleted(label)

    @property
    def next_label(self) -> int:
        """No label was ever this high; a label is not used twice, deleted ones being still in the graph."""
        return self._next

    def labels_and_masks(self, ids: Sequence[str]) -> tuple[list[int], list[int]]:
        labels = [self._labels[record_id] for record_id in ids]
        return labels, [self._masks[label] for label in labels]

    @classmethod
    def load_graph(
        cls,
        path: Path,
        dim: int,
        options: HnswOptions,
        rows: Mapping[str, list[Any]],
        next_label: int,
    ) -> "HnswIndex":
        """Read what `save_graph` wrote; `rows` has `ids`, `labels`, `masks`. RuntimeError when it is not a graph."""
        ids, labels, masks = rows["ids"], rows["labels"], rows["masks"]
        index = cls(dim, options)
        index._graph = hnswlib.Index(space="ip", dim=dim)
        index._graph.load_index(str(path), allow_replace_deleted=True)
        index._labels = dict(zip(ids, labels, strict=True))
        index._ids = dict(zip(labels, ids, strict=True))
        index._masks = dict(zip(labels, masks, strict=True))
        index._next = next_label
        return index
