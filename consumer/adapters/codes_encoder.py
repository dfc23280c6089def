"""Model and part numbers as a vector: texts that share one are near, texts that name others are not.

Hashed under a secret key as spelling is (`lexical_encoder`). Two rows without a common code have a cosine of about 0,
which in a weighted mean of high similarities is evidence against; a row that names none is absent and says nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consumer.adapters.lexical_encoder import unit_rows
from consumer.adapters.product_codes import REVISION, codes
from consumer.records import Embeddings, FieldValue

_NON_ZEROS = 4
"""Columns per code: four 32-bit words of the digest."""
_CACHED_CODES = 50_000


class CodesEncoder:
    """Encode the codes of some text fields, each counted once. Implements `consumer.ports.Encoder`.

    `key` is the secret of the deployment: vectors under different keys are unrelated. A number is read as its digits.
    """

    def __init__(self, fields: Sequence[str], dim: int, key: bytes) -> None:
        self._fields = tuple(fields)
        self._dim = dim
        self._key = key
        self._cached = lru_cache(maxsize=_CACHED_CODES)(self._sketch)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Digest of the options and, through a keyed digest, of the key; the key cannot be read from it."""
        digest = hashlib.blake2b(digest_size=16, key=self._key)
        digest.update(repr((REVISION, self._fields, self._dim)).encode())
        return digest.hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows."""
        sums = np.zeros((len(rows), self._dim))
        for i, row in enumerate(rows):
            for code, weight in self._codes(row).items():
                columns, signs = self._cached(code)
                np.add.at(sums[i], columns, signs * weight)
        return unit_rows(sums)

    def _codes(self, row: Mapping[str, FieldValue]) -> dict[str, float]:
        """Code → its greatest weight. In the order of the text, so that a row's sum is the same every time."""
        found: dict[str, float] = {}
        for name in self._fields:
            value = row.get(name, "")
            text = value if isinstance(value, str) else f"{value:.0f}" if isinstance(value, float) else ""
            for code, weight in codes(text):
                found[code] = max(weight, found.get(code, 0.0))
        return found

    def _sketch(self, code: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        size = 4 * _NON_ZEROS
        digest = hashlib.blake2b(code.encode("utf-8", "surrogatepass"), digest_size=size, key=self._key).digest()
        bits = np.frombuffer(digest, "<u4").astype(np.int64)
        # The lowest bit is the sign, the others the column.
        return (bits >> 1) % self._dim, np.where(bits & 1, 1.0, -1.0)
