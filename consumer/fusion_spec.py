"""How a profile says what makes two records one: a weighted mean with thresholds, or a decider that was fitted."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from consumer.strict import Strict


class _Spec(Strict):
    duplicate: float
    possible: float
    min_evidence: Annotated[float, Field(ge=0, le=1)]
    """Least share of all weight that must be present in both records for a duplicate."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.possible > self.duplicate:
            raise ValueError(f"possible ({self.possible}) must not exceed duplicate ({self.duplicate})")
        return self


class CrowdingSpec(Strict):
    """How a threshold follows what is usual: the score of pairs that are rarely duplicates, a record's farthest candidates."""

    usual: Annotated[float, Field(ge=0, lt=1)]
    """The mean of those scores where the thresholds are right as they stand."""
    most: Annotated[float, Field(ge=0, le=1)]
    """It raises the thresholds by no more than this: copies of one thing may be many, and are duplicates all the same."""
    apart: Mapping[str, Annotated[float, Field(ge=-1, le=1)]] = {}
    """Modalities whose cosines mean the same everywhere, as those of pictures do, with what is taken from each instead."""


class WeightedSpec(_Spec):
    """Thresholds on the weighted mean of cosines."""

    kind: Literal["weighted"] = "weighted"
    duplicate: Annotated[float, Field(gt=0, le=1)]
    """Score from which two records are duplicates."""
    possible: Annotated[float, Field(gt=0, le=1)]
    """Score from which a person should look."""
    slope: Annotated[float, Field(gt=0)]
    """Log-odds per unit of score: how sharply the probability turns at `duplicate`."""
    weights: Annotated[Mapping[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Modality → share of the score, others none; without it, the shares that the search goes by."""
    one_sided: Mapping[str, Annotated[float, Field(ge=-1, le=1)]] = {}
    """Modality → the cosine from which it counts: that pictures differ says little, that they are one says much."""
    crowding: CrowdingSpec | None = None
    """Without it, a score means the same everywhere."""
    whitened: Sequence[str] = ()
    """Modalities in whose cosines what is common in a scope counts for less, once it has records enough to tell."""

    @property
    def modalities(self) -> set[str]:
        """All that it names."""
        return {*(self.weights or ()), *self.whitened, *self.one_sided, *(self.crowding.apart if self.crowding else ())}


class LearnedSpec(_Spec):
    """Thresholds on the probability that a fitted decider gives."""

    kind: Literal["learned"]
    model: str
    """A folder of `models.directory`, made by `python -m export fusion`."""
    duplicate: Annotated[float, Field(gt=0, lt=1)]
    """Probability from which two records are duplicates."""
    possible: Annotated[float, Field(gt=0, lt=1)]
    """Probability from which a person should look."""


def _kind(value: Any) -> str:
    return str(value.get("kind", "weighted") if isinstance(value, Mapping) else getattr(value, "kind", "weighted"))


FusionSpec = Annotated[
    Annotated[WeightedSpec, Tag("weighted")] | Annotated[LearnedSpec, Tag("learned")], Discriminator(_kind)
]
