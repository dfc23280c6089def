"""Exact search in one matrix product: for scopes small enough that nothing beats it, and as the oracle in tests."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from consumer.fusion import DECIMALS
from consumer.records import Floats


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

    def search(self, queries: Floats, k: int) -> tuple[list[list[str]], list[Floats]]:
        used = len(self._ids)
        if not used or not len(queries):
            empty: Floats = np.zeros(0, np.float32)
            return [[] for _ in queries], [empty for _ in queries]
        products = queries.astype(np.float64) @ self._vectors[:used].T
        scores: Floats = np.round(products, DECIMALS).astype(np.float32)
        holes = [slot for slot, record_id in enumerate(self._ids) if record_id is None]
        scores[:, holes] = -np.inf
        best = self._best(scores, min(k, len(self._slots)))
        ids = [[str(self._ids[slot]) for slot in row] for row in best]
        return ids, [scores[i, row] for i, row in enumerate(best)]

    @staticmethod
    def _best(scores: Floats, k: int) -> list[list[int]]:
        """Columns of the k best of each row, best first, the lower column first on ties."""
        if k == 0:
            return [[] for _ in scores]
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        chosen = []
        for row, least in zip(scores, kth, strict=True):
            slots = np.flatnonzero(row >= least)
            chosen.append(slots[np.argsort(-row[slots], kind="stable")[:k]].tolist())
        return chosen

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
