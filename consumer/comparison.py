"""Records beside their candidates, compared modality by modality but not judged yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from consumer.records import Bools, Doubles, Floats, Integers


@dataclass(frozen=True)  # no slots: what is asked for often is kept
class Comparison:
    """n pairs of a row and a candidate; the pairs of a row follow each other, and rows come in order."""

    rows: Integers
    """int64 [n], the number of the row."""
    ids: Sequence[str]
    """[n], the candidate."""
    similarities: Floats
    """float32 [n, modalities], cosines; 0 where one is missing."""
    masks: Integers
    """int64 [n, 2], the masks of modalities of the row's record and of the candidate."""

    @property
    def shared(self) -> Integers:
        """int64 [n], the mask of modalities that both have."""
        return self.masks[:, 0] & self.masks[:, 1]

    @cached_property
    def present(self) -> Bools:
        """Whether both have it, bool [n, modalities]."""
        return self._bits(self.shared)

    @property
    def had(self) -> Bools:
        """What the row's record has, and what the candidate has, bool [n, 2, modalities]."""
        return self._bits(self.masks)

    def completeness(self, modalities: Sequence[int]) -> Doubles:
        """Share of those modalities, given by number, that the row's record has, and the candidate, float64 [n, 2]."""
        return np.asarray(self.had[:, :, list(modalities)].mean(axis=2), np.float64)

    def take(self, chosen: Bools) -> "Comparison":
        """Some of the pairs."""
        ids = [self.ids[i] for i in np.flatnonzero(chosen).tolist()]
        return Comparison(self.rows[chosen], ids, self.similarities[chosen], self.masks[chosen])

    def only(self, modalities: Sequence[int]) -> "Comparison":
        """As if the records had no modality but these, given by number."""
        mask = sum(1 << number for number in modalities)
        return replace(self, masks=self.masks & mask)

    def _bits(self, masks: Integers) -> Bools:
        return ((masks[..., None] >> np.arange(self.similarities.shape[1])) & 1).astype(bool)
