"""What the encoders of text share: from the fields of rows to unit vectors, by a model that takes ids."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from consumer.adapters.onnx_session import Session
from consumer.adapters.text_cache import TextCache
from consumer.adapters.texts import JOINER, MAX_CHARACTERS, Ids, batches, text_of
from consumer.records import Embeddings, FieldValue


class TextEncoder(ABC):
    """An `Encoder` of text: the present fields of a row, in order, joined by `", "`.

    A kind of model says how a text becomes ids, and which inputs its graph takes.
    """

    def __init__(
        self,
        session: Session,
        fields: Sequence[str],
        *,
        dim: int,
        parts: Sequence[object],
        budget: int,
        cache_entries: int,
    ) -> None:
        """`parts` are what changes the vectors beside the fields; `budget` is the most ids of a batch, padding included."""
        self._session = session
        self._fields = tuple(fields)
        self._dim = dim
        self._parts = tuple(parts)
        self._budget = budget
        self._cache = TextCache(cache_entries, dim)

    @abstractmethod
    def _ids(self, texts: Sequence[str]) -> Sequence[Ids]:
        """The ids of each text; none where the model cannot read it."""

    @abstractmethod
    def _inputs(self, ids: Sequence[Ids]) -> Mapping[str, npt.NDArray[np.int64]]:
        """The graph's inputs, padded to the longest, which comes last."""

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Provider, threads and batch size are not in it: they move a component by about 1e-6."""
        return hashlib.sha256(json.dumps((*self._parts, MAX_CHARACTERS, JOINER, self._fields)).encode()).hexdigest()

    @property
    def provider(self) -> str:
        """The execution provider in use, such as `CUDAExecutionProvider`."""
        return self._session.provider

    @property
    def passed_over(self) -> Sequence[str]:
        """Each provider that was preferred, and why it does not work here."""
        return self._session.passed_over

    def warm_up(self) -> None:
        self._ids(["Ann Lee, Leeds"])
        self._session.warm_up()

    def forget(self) -> None:
        self._cache.forget()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows, zero where absent. Raises ModelError when the runtime fails, out of memory say."""
        return self._cache.encode([text_of(row, self._fields) for row in rows], self._compute)

    def _compute(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.zeros((len(texts), self._dim), np.float32)
        present = np.zeros(len(texts), np.bool_)
        read = enumerate(self._ids(texts))
        # By length, because a short text padded to a long one costs as much as the long one.
        readable = sorted(((row, ids) for row, ids in read if len(ids)), key=lambda item: len(item[1]))
        for batch in batches(readable, self._budget):
            chosen = [row for row, _ in batch]
            vectors[chosen] = self._session.run("embedding", self._inputs([ids for _, ids in batch]))
            present[chosen] = True
        return Embeddings(vectors, present)
