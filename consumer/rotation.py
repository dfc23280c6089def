"""A secret rotation of vectors: inner products stay, everything else about the numbers goes. Pure.

Each modality's block is turned by an orthogonal matrix of its own, drawn from the key. Whoever has not the key cannot
compare such vectors with ones made elsewhere, nor decode them with a model trained on the encoder. `docs/privacy.md`
says what it does not protect.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from consumer.records import Floats

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rotation:
    """One orthogonal matrix a modality, for blocks of the widths given. Two keys, names or widths share nothing."""

    key: bytes = field(repr=False)
    dims: Mapping[str, int]
    _matrices: Mapping[str, Floats] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = {name: orthogonal(self.key, name, dim).astype(np.float32) for name, dim in self.dims.items()}
        object.__setattr__(self, "_matrices", made)

    @property
    def fingerprint(self) -> str:
        """Digest of the key, from which it cannot be had unless it can be guessed."""
        return hashlib.blake2b(_labelled(b"fingerprint", self.key), digest_size=16).hexdigest()

    def turn(self, name: str, block: Floats) -> Floats:
        """float32 [n, dim], each row turned. Inner products of rows stay within float32; a zero row stays zero."""
        turned: Floats = block @ self._matrices[name]
        return turned


def orthogonal(key: bytes, name: str, dim: int) -> Matrix:
    """A float64 [dim, dim] orthogonal matrix, uniform over all of them, and the same for the same key, name and dim.

    The Q of a Gaussian matrix, with signs such that R has a positive diagonal, is uniform (Mezzadri 2007), and then there
    is only one: linear algebra libraries differ in its last bits alone, far below the float16 that vectors travel as.
    The Gaussian is drawn here and not by numpy, whose streams may change from version to version.
    """
    q, r = np.linalg.qr(
        _gaussian(_labelled(b"matrix", key, name.encode(), str(dim).encode()), dim * dim).reshape(dim, dim)
    )
    turned: Matrix = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return turned


def _gaussian(seed: bytes, count: int) -> Matrix:
    """Normal numbers by Box and Muller, from 53-bit uniform ones, from SHAKE-256."""
    pairs = (count + 1) // 2
    stream = hashlib.shake_256(seed).digest(pairs * 16)
    uniform = ((np.frombuffer(stream, "<u8") >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:pairs])), 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def _labelled(*parts: bytes) -> bytes:
    """The parts with their lengths, so that no two lists of parts look alike."""
    lengths: Sequence[bytes] = [len(part).to_bytes(8, "little") for part in parts]
    return b"".join(itertools.chain.from_iterable(zip(lengths, parts, strict=True)))
