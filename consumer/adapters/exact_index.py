"""Exact search in one matrix product: for scopes small enough that nothing beats it, and as the oracle in tests."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from consumer.layout import DECIMALS
from consumer.ports import Cosines, Hits, whole
from consumer.records import Floats

_AT_ONCE = 32
"""Queries that are compared with their best together: more would leave the processor's cache."""


class ExactIndex:
    """Vectors in arrival order; a removed one leaves a hole that is closed when holes are many.

    They are held as float64: what came from float16 then has exact inner products, in whatever order a matrix product
    adds. In float32 the shape of a batch decides last digits, and with them ties.
    """

    def __init__(self, dim: int) -> None:
        self._vectors: npt.NDArray[np.float64] = np.zeros((64, dim))
        self._masks: list[int] = []
        self._ids: list[str | None] = []
        self._slots: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._slots

    @property
    def ids(self) -> list[str]:
        """Ids, oldest first."""
        return list(self._slots)

    def search(
        self,
        queries: Floats,
        k: int,
        cosines: Cosines = whole,
        spare: int = 0,
        above: Floats | None = None,
    ) -> list[Hits]:
        """See `consumer.ports.VectorIndex`; of each query, only what scores more than `above`, float32 [n]."""
        used, wanted = len(self._ids), min(k + spare, len(self._slots)) if k else 0
        if not wanted or not len(queries):
            none = queries[:0]
            return [Hits([], np.zeros(0, np.float32), cosines(none, none), [])] * len(queries)
        products = queries.astype(np.float64) @ self._vectors[:used].T
        scores: Floats = np.round(products, DECIMALS).astype(np.float32)
        holes = [slot for slot, record_id in enumerate(self._ids) if record_id is None]
        scores[:, holes] = -np.inf
        cut = -np.partition(-scores, wanted - 1, axis=1)[:, wanted - 1]
        better = scores >= cut[:, None]
        if above is not None:
            better &= scores > above[:, None]
        # the lower slot first on ties: it is the older
        best = [
            slots[np.argsort(-row[slots], kind="stable")[:wanted]] if len(slots) else slots
            for row, slots in zip(scores, map(np.flatnonzero, better), strict=True)
        ]
        hits: list[Hits] = []
        for start in range(0, len(queries), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            hits += self._compared(queries[part], scores[part], best[part], cosines)
        return hits

    def _compared(
        self, queries: Floats, scores: Floats, best: Sequence[npt.NDArray[np.intp]], cosines: Cosines
    ) -> list[Hits]:
        counts, slots = [len(one) for one in best], np.concatenate(best)
        alike = cosines(self._vectors[slots].astype(np.float32), np.repeat(queries, counts, axis=0))
        ids, masks = [str(self._ids[slot]) for slot in slots], [self._masks[slot] for slot in slots]
        ends = np.cumsum(counts).tolist()
        return [
            Hits(ids[end - n : end], row[one], alike[end - n : end], masks[end - n : end])
            for row, one, n, end in zip(scores, best, counts, ends, strict=True)
        ]

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.remove(ids)
        start, end = len(self._ids), len(self._ids) + len(ids)
        if end > len(self._vectors):
            grown = np.zeros((max(end, 2 * len(self._vectors)), self._vectors.shape[1]))
            grown[:start] = self._vectors[:start]
            self._vectors = grown
        self._vectors[start:end] = vectors
        self._ids += ids
        self._masks += masks
        self._slots.update({record_id: start + i for i, record_id in enumerate(ids)})

    def remove(self, ids: Sequence[str]) -> None:
        for record_id in ids:
            slot = self._slots.pop(record_id, None)
            if slot is not None:
                self._ids[slot] = None
                self._vectors[slot] = 0
        if len(self._ids) > 64 and len(self._slots) < len(self._ids) / 2:
            self._close_holes()

    def products(self) -> npt.NDArray[np.float64]:
        """float64 [dim, dim], the sum over the vectors of each by itself: what their principal axes follow from."""
        used = self._vectors[: len(self._ids)]
        return used.T @ used

    def newest(self, count: int) -> Floats:
        return self._vectors[list(self._slots.values())[-count:]].astype(np.float32)

    def _close_holes(self) -> None:
        slots = list(self._slots.values())
        self._vectors[: len(slots)] = self._vectors[slots]
        self._vectors[len(slots) :] = 0
        self._masks = [self._masks[slot] for slot in slots]
        self._ids = list(self._slots)
        self._slots = {record_id: i for i, record_id in enumerate(self._slots)}

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, list[int]]:
        slots = [self._slots[record_id] for record_id in ids]
        return self._vectors[slots].astype(np.float32), [self._masks[slot] for slot in slots]
