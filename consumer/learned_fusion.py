"""A fusion whose weights were fitted on labelled pairs: an additive model of log-odds, with what the scope has shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from consumer.background import Background
from consumer.beliefs import Beliefs, Expectations
from consumer.comparison import Comparison
from consumer.fusion import probability
from consumer.fusion_spec import LearnedSpec
from consumer.layout import DECIMALS, Layout
from consumer.records import Bools, Doubles, Floats, Match
from consumer.terms import terms_of


class Decider(Protocol):
    """A fitted additive model of log-odds."""

    @property
    def modalities(self) -> Sequence[str]:
        """Those it weighs; what a profile has beside them counts for nothing."""

    @property
    def crowding(self) -> Mapping[str, float]:
        """Modality → cosine from which a candidate counts as near: one term each."""

    @property
    def quality(self) -> bool:
        """Whether it weighs how complete the records are: one term more."""

    @property
    def whitened(self) -> Sequence[str]:
        """Modalities whose cosines it was fitted on whitened."""

    @property
    def background(self) -> Background | None:
        """What it makes of a record's farthest candidates, if it looks at them: one term more."""

    @property
    def expectations(self) -> Expectations: ...

    @property
    def fingerprint(self) -> str: ...

    def weigh(self, similarities: Floats, present: Bools, beyond: Doubles) -> Doubles:
        """Log-odds of n pairs, float64 [n, 1 + modalities + terms]: what each adds, after the base rate's.

        `beyond`, float64 [n, terms], is how much more than usual there is of what each term is about.
        """


@dataclass(frozen=True, slots=True)
class LearnedFusion:
    """An additive model fitted on labelled pairs, with the prior, the crowding and the quality usual in the scope at hand.

    A modality that one of the two lacks adds nothing. What the terms add, `base` and `prior` with them, sums to the logit
    of the probability.
    """

    layout: Layout
    spec: LearnedSpec
    decider: Decider

    @property
    def whitened(self) -> Sequence[str]:
        return self.decider.whitened

    @property
    def fingerprint(self) -> str:
        return f"{self.spec.model_dump_json()} {self.decider.fingerprint}"

    def judge(self, pairs: Comparison, beliefs: Beliefs, *, different: bool = False) -> list[Match | None]:
        matches: list[Match | None] = [None] * len(pairs.ids)
        if not matches:
            return matches
        terms = self._terms(pairs, beliefs)
        log_odds = np.round(terms.sum(axis=1), DECIMALS)
        enough = self._evidence(pairs) >= self.spec.min_evidence - 1e-9
        duplicate = (log_odds >= round(_logit(self.spec.duplicate), DECIMALS)) & enough
        likely = (log_odds >= round(_logit(self.spec.possible), DECIMALS)) | different
        kept = np.flatnonzero(likely & pairs.present.any(axis=1))
        names, modalities = self._names(), self.layout.names
        cosines = np.clip(np.round(pairs.similarities[kept].astype(np.float64), 4), -1, 1)  # blocks are float16
        columns = log_odds[kept], duplicate[kept], pairs.present[kept], cosines, np.round(terms[kept], 4)
        # as lists: a number taken from an array costs more than all that is done with it
        for i, logit, same, there, near, added in zip(kept.tolist(), *(c.tolist() for c in columns), strict=True):
            similarities = dict(zip(modalities, near, strict=True))
            contributions = dict(zip(names, added, strict=True))
            for name in () if all(there) else [n for n, has in zip(modalities, there, strict=True) if not has]:
                similarities.pop(name)
                contributions.pop(name, None)
            matches[i] = Match(pairs.ids[i], probability(logit), same, similarities, contributions)
        return matches

    def scores(self, pairs: Comparison) -> Doubles:
        if not pairs.ids:
            return np.zeros(0)
        log_odds = np.round(self._terms(pairs, Beliefs()).sum(axis=1), DECIMALS)
        enough = self._evidence(pairs) >= self.spec.min_evidence - 1e-9
        return np.where(enough & pairs.present.any(axis=1), 1 / (1 + np.exp(-log_odds)), -1.0)

    def _terms(self, pairs: Comparison, beliefs: Beliefs) -> Doubles:
        """What each of `_names` adds to each pair, float64 [n, names]."""
        decider = self.decider
        beliefs.belong(decider.fingerprint)
        columns = [self.layout.names.index(name) for name in decider.modalities]
        similarities, present = pairs.similarities[:, columns], pairs.present[:, columns]
        crowding = {self.layout.names.index(name): cosine for name, cosine in decider.crowding.items()}
        around = terms_of(pairs, columns, crowding, quality=decider.quality)
        beyond = around.beyond(beliefs.usual(around.seen, decider.expectations))
        added = decider.weigh(similarities, present, beyond)
        if decider.background:
            so_far = np.round(added.sum(axis=1), DECIMALS)
            added = np.column_stack([added, decider.background.adds(pairs.rows, so_far)])
        by_row = np.split(added.sum(axis=1), np.flatnonzero(np.diff(around.rows)) + 1)
        prior = beliefs.shifts(by_row, decider.expectations)[around.rows]
        return np.column_stack([added[:, :1], prior, added[:, 1:]])

    def _names(self) -> list[str]:
        terms = [
            *(f"crowding {name}" for name in self.decider.crowding),
            *(["quality"] if self.decider.quality else []),
            *(["crowding"] if self.decider.background else []),
        ]
        return ["base", "prior", *self.decider.modalities, *terms]

    def _evidence(self, pairs: Comparison) -> Doubles:
        return np.asarray((pairs.present * np.asarray(self.layout.weights)).sum(axis=1), np.float64)


def _logit(chance: float) -> float:
    return math.log(chance / (1 - chance)) if chance < 1 else math.inf
