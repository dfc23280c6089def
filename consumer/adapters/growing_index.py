"""The index of a scope: exact while it is small, hnswlib once it is not. No size is set in advance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from consumer.adapters.array_file import read_array, write_array
from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.hnsw_index import HnswIndex
from consumer.adapters.projection import ROWS_PER_AXIS, Projection
from consumer.ports import Cosines, Hits, Saving, whole
from consumer.records import Floats

_CHUNK = 4096
_ROWS, _VECTORS = "rows.json", "vectors.npy"


class GrowingIndex:
    """Becomes approximate at the turn at which it holds more than `exact_below` vectors, and stays so.

    Going back and forth would cost most. `folder` is where a large one keeps its vectors; None: where temporary files go.
    """

    def __init__(self, dim: int, exact_below: int, options: HnswOptions, folder: Path | None = None) -> None:
        self._dim = dim
        # what shortens vectors is learnt from those that are there
        self._exact_below = max(exact_below, ROWS_PER_AXIS * options.dims if dim > options.dims else 0)
        self._options = options
        self._folder = folder
        self._inner: ExactIndex | HnswIndex = ExactIndex(dim)
        self._block = -1

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._inner

    def turn_to(self, block: int) -> None:
        if block == self._block:
            return
        self._block = block
        if isinstance(self._inner, HnswIndex):
            self._inner.turn()
        elif len(self._inner) > self._exact_below:
            self._inner = self._promote(self._inner)

    def last_search(self) -> None:
        if isinstance(self._inner, HnswIndex):
            self._inner.last_search()

    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> Sequence[Hits]:
        return self._inner.search(queries, k, cosines, spare)

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self._inner.add(ids, vectors, masks)

    def remove(self, ids: Sequence[str]) -> None:
        self._inner.remove(ids)

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Sequence[int]]:
        return self._inner.vectors(ids)

    def newest(self, count: int) -> Floats:
        return self._inner.newest(count)

    def _promote(self, exact: ExactIndex) -> HnswIndex:
        graph = HnswIndex(
            self._dim, self._options, Projection.learnt(exact.products(), self._options.dims), self._folder
        )
        ids = exact.ids
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            vectors, masks = exact.vectors(part)
            graph.add(part, vectors, masks)
            graph.settle()
        return graph

    def save(self, directory: Path) -> Saving:
        told: dict[str, Any] = {"block": self._block}
        saving = Saving()
        if isinstance(self._inner, HnswIndex):
            told["graph"], saving = self._inner.save(directory)
        else:
            told["ids"] = self._inner.ids
            vectors, told["masks"] = self._inner.vectors(self._inner.ids)
            write_array(directory / _VECTORS, vectors.astype(np.float16))
        (directory / _ROWS).write_bytes(orjson.dumps(told))
        return saving

    @classmethod
    def load(
        cls, directory: Path, dim: int, exact_below: int, options: HnswOptions, folder: Path | None = None
    ) -> "GrowingIndex":
        """Read what was saved. Raises OSError, ValueError, KeyError, TypeError or RuntimeError for anything else."""
        index = cls(dim, exact_below, options, folder)
        told = orjson.loads((directory / _ROWS).read_bytes())
        if not isinstance(told, dict):
            raise TypeError(f"{_ROWS} holds no rows")
        index._block = told["block"]
        if "graph" in told:
            index._inner = HnswIndex.load(directory, dim, options, told["graph"], folder)
            return index
        vectors = read_array(directory / _VECTORS).astype(np.float32)
        if vectors.shape != (len(told["ids"]), dim):
            raise ValueError(f"vectors of shape {vectors.shape} for {len(told['ids'])} ids of {dim} dimensions")
        index._inner.add(told["ids"], vectors, told["masks"])
        return index
