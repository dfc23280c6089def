"""Records beside their candidates, compared modality by modality but not judged yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consumer.records import Bools, Floats, Integers


@dataclass(frozen=True, slots=True)
class Comparison:
    """n pairs of a row and a candidate; the pairs of a row follow each other, and rows come in order."""

    rows: Integers
    """int64 [n], the number of the row."""
    ids: Sequence[str]
    """[n], the candidate."""
    similarities: Floats
    """float32 [n, modalities], cosines; 0 where one is missing."""
    shared: Integers
    """int64 [n], the mask of modalities that both have."""

    @property
    def present(self) -> Bools:
        """Whether both have it, bool [n, modalities]."""
        return ((self.shared[:, None] >> np.arange(self.similarities.shape[1])) & 1).astype(bool)

    def take(self, chosen: Bools) -> "Comparison":
        """Some of the pairs."""
        ids = [self.ids[i] for i in np.flatnonzero(chosen).tolist()]
        return Comparison(self.rows[chosen], ids, self.similarities[chosen], self.shared[chosen])

    def only(self, modalities: Sequence[int]) -> "Comparison":
        """As if the records had no modality but these, given by number."""
        mask = sum(1 << number for number in modalities)
        return replace(self, shared=self.shared & mask)
