"""A perceptual hash that comes with the record, as a vector: the cosine of two falls with the bits that differ.

A picture that was re-encoded or resized differs from its original in 0 to 8 of 64 bits (cosine 1 to .75), another
picture in about half of them (cosine 0).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from consumer.records import Embeddings, FieldValue

_REVISION = "hash-1"
_HEX = re.compile(r"(?:0[xX])?([0-9A-Fa-f]+)")


class HashEncoder:
    """Encode `bits` bits in hexadecimal, such as imagehash's `str(phash(image))`. Implements `consumer.ports.Encoder`.

    What is no hexadecimal number of that length is absent, and so is one whose bits are all alike: it says that the
    picture was blank.
    """

    def __init__(self, field: str, bits: int) -> None:
        self._field = field
        self._bits = bits

    @property
    def dim(self) -> int:
        return self._bits

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((_REVISION, self._field, self._bits)).encode()).hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, bits] unit rows: a component for each bit, positive where it is set."""
        read = [self._read(row.get(self._field)) for row in rows]
        blank = bytes(self._bits // 8)
        packed = np.frombuffer(b"".join(found or blank for found in read), np.uint8).reshape(len(rows), self._bits // 8)
        bits = np.unpackbits(packed, axis=1).astype(np.float32)
        present = np.array([found is not None for found in read], bool)
        return Embeddings((2 * bits - 1) * present[:, None] / np.float32(self._bits**0.5), present)

    def _read(self, value: FieldValue | None) -> bytes | None:
        found = _HEX.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or len(found[1]) * 4 != self._bits:
            return None
        read = bytes.fromhex(found[1])
        return None if len(set(read)) == 1 and read[0] in (0, 255) else read
