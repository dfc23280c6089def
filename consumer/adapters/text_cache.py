"""Vectors of texts seen lately: people give the same names and cities again, and a model takes milliseconds for each.

Only in memory, and under a digest keyed by chance at every start, so that it holds no text. A vector is personal data
all the same; `forget` overwrites them all.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from consumer.metrics import METRICS
from consumer.records import Bools, Embeddings, Floats


class TextCache:
    """At most `entries` texts, the least recently used out first; 0 keeps none.

    An entry takes 4 bytes a dimension and about 250 for its key: 25 MB for 50,000 texts of 64 dimensions.
    """

    def __init__(self, entries: int, dim: int) -> None:
        self._entries = entries
        self._dim = dim
        self._key = secrets.token_bytes(32)
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        self._vectors: Floats = np.zeros((entries, dim), np.float32)
        self._present: Bools = np.zeros(entries, np.bool_)

    def __len__(self) -> int:
        return len(self._slots)

    def encode(self, texts: Sequence[str], compute: Callable[[Sequence[str]], Embeddings]) -> Embeddings:
        """What `compute` makes of n texts, asked once for each distinct one it was not asked for lately.

        Vectors come out bit for bit as they were computed. An empty text is absent, and no question.
        """
        made = Embeddings(np.zeros((len(texts), self._dim), np.float32), np.zeros(len(texts), np.bool_))
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if text:
                rows.setdefault(text, []).append(row)
        keys = {text: self._digest(text) for text in rows} if self._entries else {}
        known = {text: self._slots[key] for text, key in keys.items() if key in self._slots}
        unknown = [text for text in rows if text not in known]
        METRICS.cached_texts.labels("hit").inc(sum(map(len, rows.values())) - len(unknown))
        METRICS.cached_texts.labels("miss").inc(len(unknown))
        for text in known:
            self._slots.move_to_end(keys[text])
        _fill(made, [(rows[text], slot) for text, slot in known.items()], Embeddings(self._vectors, self._present))
        if unknown:
            fresh = compute(unknown)
            _fill(made, [(rows[text], i) for i, text in enumerate(unknown)], fresh)
            if self._entries:
                self._keep([keys[text] for text in unknown], fresh)
        return made

    def forget(self) -> None:
        """Drop everything, and overwrite its numbers."""
        self._slots.clear()
        self._vectors[:] = 0
        self._present[:] = False

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._key).digest()

    def _keep(self, keys: Sequence[bytes], fresh: Embeddings) -> None:
        """The last of them, if there are more than fit."""
        for i in range(max(0, len(keys) - self._entries), len(keys)):
            full = len(self._slots) == self._entries
            slot = self._slots.popitem(last=False)[1] if full else len(self._slots)
            self._slots[keys[i]] = slot
            self._vectors[slot] = fresh.vectors[i]
            self._present[slot] = fresh.present[i]


def _fill(made: Embeddings, rows: Sequence[tuple[Sequence[int], int]], source: Embeddings) -> None:
    """Copy rows: some of `made`, all from one of `source`."""
    to = [row for several, _ in rows for row in several]
    whence = [one for several, one in rows for _ in several]
    made.vectors[to] = source.vectors[whence]
    made.present[to] = source.present[whence]
