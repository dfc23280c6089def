"""From likeness to sameness: vectors whose cosine is high for copies, and all the same for everything else.

Another photograph of the same thing is common, so a different picture must speak against a pair only a little, while a
copy speaks for it. With c the cosine of the model's vectors, the cosine of these is

    floor + (1 - floor) * exp((c - 1) / reach)

to within a few hundredths: random Fourier features of the Gaussian kernel (Rahimi and Recht 2007), which is exact where
the pictures are the same, and a number that all vectors share.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from consumer.records import Floats

_WAVES = 128
_SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class Likeness:
    """`floor`, 0 to below 1, is the cosine of pictures that have nothing in common; `reach`, above 0, how much of the
    cosine may be missing until only a third of what lies above the floor is left.
    """

    floor: float
    reach: float
    _waves: list[Floats] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return 2 * _WAVES + 1

    def __call__(self, vectors: Floats) -> Floats:
        """Unit rows float32 [n, d] → unit rows float32 [n, dim]."""
        angles = vectors @ self._directions(vectors.shape[1])
        made = np.empty((len(vectors), self.dim), np.float32)
        np.cos(angles, out=made[:, :_WAVES])
        np.sin(angles, out=made[:, _WAVES:-1])
        made[:, :-1] *= np.float32(math.sqrt((1 - self.floor) / _WAVES))
        made[:, -1] = np.float32(math.sqrt(self.floor))
        return made

    def _directions(self, dim: int) -> Floats:
        """The waves' directions, drawn once. The legacy generator is the one whose numbers NumPy promises to keep."""
        if not self._waves:
            drawn = np.random.RandomState(_SEED).standard_normal((dim, _WAVES))
            self._waves.append((drawn / math.sqrt(self.reach)).astype(np.float32))
        return self._waves[0]
