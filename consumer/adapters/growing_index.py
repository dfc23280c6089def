"""The index of a scope: exact while it is small, hnswlib once it is not. No size is set in advance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.hnsw_index import HnswIndex, HnswOptions
from consumer.records import Floats

_CHUNK = 4096
_GRAPH, _ROWS, _VECTORS = "graph.bin", "rows.json", "vectors.npy"


class GrowingIndex:
    """Becomes approximate when it holds `exact_below` vectors, and stays so: going back and forth would cost most."""

    def __init__(self, dim: int, exact_below: int, options: HnswOptions) -> None:
        self._dim = dim
        self._exact_below = exact_below
        self._options = options
        self._inner: ExactIndex | HnswIndex = ExactIndex(dim)

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._inner

    def search(self, queries: Floats, k: int) -> tuple[Sequence[Sequence[str]], Sequence[Floats]]:
        return self._inner.search(queries, k)

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        if isinstance(self._inner, ExactIndex) and len(self._inner) + len(ids) > self._exact_below:
            self._inner = self._promote(self._inner)
        self._inner.add(ids, vectors, masks)

    def remove(self, ids: Sequence[str]) -> None:
        self._inner.remove(ids)

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Sequence[int]]:
        return self._inner.vectors(ids)

    def _promote(self, exact: ExactIndex) -> HnswIndex:
        graph = HnswIndex(self._dim, self._options, capacity=2 * max(len(exact), 512))
        ids = exact.ids
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            vectors, masks = exact.vectors(part)
            graph.add(part, vectors, masks)
        return graph

    def save(self, directory: Path) -> None:
        ids = self._inner.ids
        if isinstance(self._inner, HnswIndex):
            labels, masks = self._inner.labels_and_masks(ids)
            self._inner.save_graph(directory / _GRAPH)
        else:
            vectors, stored = self._inner.vectors(ids)
            labels, masks = [], list(stored)
            np.save(directory / _VECTORS, vectors.astype(np.float16))
        next_label = self._inner.next_label if isinstance(self._inner, HnswIndex) else 0
        rows = {"ids": ids, "labels": labels, "masks": masks, "next_label": next_label}
        (directory / _ROWS).write_bytes(orjson.dumps(rows))

    @classmethod
    def load(cls, directory: Path, dim: int, exact_below: int, options: HnswOptions) -> "GrowingIndex":
        """Read what `save` wrote. Raises OSError, ValueError, KeyError or RuntimeError for anything else."""
        index = cls(dim, exact_below, options)
        rows = orjson.loads((directory / _ROWS).read_bytes())
        if not isinstance(rows, dict):
            raise ValueError(f"{_ROWS} holds no rows")  # noqa: TRY004  # what it holds is a value here, not a type
        if (directory / _GRAPH).exists():
            index._inner = HnswIndex.load_graph(directory / _GRAPH, dim, options, rows, rows["next_label"])
        elif rows["ids"]:
            with (directory / _VECTORS).open("rb") as file:  # `np.load` would guess what else the file may be
                vectors = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32)
            if vectors.shape != (len(rows["ids"]), dim):
                raise ValueError(f"vectors of shape {vectors.shape} for {len(rows['ids'])} ids of {dim} dimensions")
            index._inner.add(rows["ids"], vectors, rows["masks"])
        return index
