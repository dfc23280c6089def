"""Pure scoring: per-modality similarities of a pair → match probability with its contributions.

What a fusion is, and the one with fixed weights; `consumer.learned_fusion` has the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from consumer.background import of_farthest
from consumer.beliefs import Beliefs, Expectations
from consumer.comparison import Comparison
from consumer.fusion_spec import WeightedSpec
from consumer.layout import DECIMALS, Layout
from consumer.records import Doubles, Match


class Fusion(Protocol):
    """Decides about pairs."""

    @property
    def layout(self) -> Layout: ...

    @property
    def whitened(self) -> Sequence[str]:
        """Modalities whose cosines are taken whitened (`consumer.whitening`)."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides, beside the vectors."""

    def judge(self, pairs: Comparison, beliefs: Beliefs, *, different: bool = False) -> list[Match | None]:
        """Decide n pairs in order; None where the two are different, or share nothing. Rows count in `beliefs`.

        With `different`, also what pairs that are different rest on.
        """

    def scores(self, pairs: Comparison) -> Doubles:
        """How alike the two of each pair are, float64 [n]; -1 where too little of them is there to say duplicate.

        On the scale of the thresholds, as far as the pair alone tells: with fresh beliefs, formed in the order of rows.
        """


@dataclass(frozen=True, slots=True)
class WeightedFusion:
    """The weighted mean of the cosines present in both records, turned into log-odds around the threshold.

    A modality's contribution is slope · its share of the weight present · (its cosine minus the threshold); with that of
    crowding they sum to the logit of the probability, which is one half at the threshold.

    Crowding takes from a score what the record's farthest candidates have more than usual, half by its own and half by
    those of the scope so far, in the spirit of the local scaling of Conneau et al. (2018).
    """

    layout: Layout
    spec: WeightedSpec

    @property
    def whitened(self) -> Sequence[str]:
        return self.spec.whitened

    @property
    def fingerprint(self) -> str:
        return self.spec.model_dump_json()

    def judge(self, pairs: Comparison, beliefs: Beliefs, *, different: bool = False) -> list[Match | None]:
        weights = self._counted(pairs)
        shares, evidence, means = self._means(pairs, weights)
        crowding = self._crowding(pairs, weights, beliefs)
        scores = np.round(means - crowding, DECIMALS)
        matches: list[Match | None] = [None] * len(pairs.ids)
        kept = np.flatnonzero(((scores >= self.spec.possible) | different) & (evidence > 0))
        duplicate = (scores >= self.spec.duplicate) & (evidence >= self.spec.min_evidence - 1e-9)
        columns = scores, duplicate, pairs.similarities, pairs.present, shares, crowding
        for i, *found in zip(kept.tolist(), *(column[kept].tolist() for column in columns), strict=True):
            matches[i] = self._match(pairs.ids[i], *found)
        return matches

    def scores(self, pairs: Comparison) -> Doubles:
        weights = self._counted(pairs)
        _, evidence, means = self._means(pairs, weights)
        scores = np.round(means - self._crowding(pairs, weights, Beliefs()), DECIMALS)
        return np.where((evidence > 0) & (evidence >= self.spec.min_evidence - 1e-9), scores, -1.0)

    def _crowding(self, pairs: Comparison, weights: Doubles, beliefs: Beliefs) -> Doubles:
        """What to take from each score, float64 [n], for what is usual here; below 0 where that is little."""
        spec = self.spec.crowding
        if spec is None or not pairs.ids:
            return np.zeros(len(pairs.ids))
        beliefs.belong(self.fingerprint)
        apart = np.asarray([name in spec.apart for name in self.layout.names])
        instead = np.asarray([spec.apart.get(name, 0.0) for name in self.layout.names])
        ours = (weights * ~apart).sum(axis=1)
        means = (weights * ~apart * pairs.similarities).sum(axis=1) / np.maximum(ours, 1e-9)
        rows, own = of_farthest(pairs.rows, np.round(means, DECIMALS), ours > 0)
        seen = np.where(np.isnan(own), spec.usual, own)
        scope = beliefs.usual(seen[:, None], Expectations([spec.usual], base_rate=0.5, damping=0))[:, 0]
        beliefs.rows += len(own)
        beyond = (np.where(np.isnan(own), scope, own) + scope) / 2 - spec.usual
        taken = ours * np.minimum(beyond, spec.most)[rows] + (weights * instead).sum(axis=1)
        return np.asarray(taken / np.maximum(weights.sum(axis=1), 1e-9), np.float64)

    def _means(self, pairs: Comparison, weights: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Share of each modality, weight present, weighted mean: [n, modalities], [n], [n]."""
        evidence = weights.sum(axis=1)
        shares = weights / np.maximum(evidence, 1e-9)[:, None]
        return shares, evidence, np.round((shares * pairs.similarities).sum(axis=1), DECIMALS)

    def _counted(self, pairs: Comparison) -> Doubles:
        """The weight of each modality that counts for each pair, [n, modalities]: both have it, and alike if it is one-sided."""
        counts = pairs.present
        if one_sided := self.spec.one_sided:
            least = np.asarray([one_sided.get(name, -1.0) for name in self.layout.names])
            counts = counts & (np.round(pairs.similarities, DECIMALS) >= least)
        named = self._named
        weights = np.asarray([named.get(name, 0.0) for name in self.layout.names], np.float64)
        return np.asarray(counts * (weights / weights.sum()), np.float64)

    @property
    def _named(self) -> Mapping[str, float]:
        """Modalities that have a weight in the score."""
        if self.spec.weights is not None:
            return self.spec.weights
        return dict(zip(self.layout.names, self.layout.weights, strict=True))

    def _match(
        self,
        record_id: str,
        score: float,
        duplicate: bool,
        similarities: Sequence[float],
        there: Sequence[bool],
        shares: Sequence[float],
        crowding: float,
    ) -> Match:
        spec = self.spec
        named, columns = self._named, zip(self.layout.names, similarities, there, shares, strict=True)
        present = [(name, cosine, share) for name, cosine, both, share in columns if both and name in named]
        return Match(
            id=record_id,
            probability=probability(spec.slope * (score - spec.duplicate)),
            duplicate=duplicate,
            similarities={name: max(-1.0, min(1.0, round(cosine, 4))) for name, cosine, _ in present},
            # `+ 0.0`: what is one-sided and does not count adds 0, not -0
            contributions={name: round(spec.slope * s * (c - spec.duplicate), 4) + 0.0 for name, c, s in present}
            | ({"crowding": 0.0 - round(spec.slope * crowding, 4)} if spec.crowding else {}),
        )


def probability(log_odds: float) -> float:
    """Four decimals of what the log-odds say."""
    return round(1 / (1 + math.exp(min(-log_odds, 700.0))), 4)
