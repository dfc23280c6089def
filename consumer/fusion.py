"""Pure scoring: per-modality similarities of a pair → match probability with its contributions.

Each record is one vector: unit blocks, one a modality, each scaled by the root of its weight. The inner product of two
such vectors is the weighted sum of their cosines, so the index searches by the fused score itself; here the blocks are
taken apart again, and the pair is judged over the modalities present in both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from consumer.background import Background, of_farthest
from consumer.beliefs import Beliefs, Expectations
from consumer.comparison import Comparison
from consumer.fusion_spec import LearnedSpec, WeightedSpec
from consumer.records import Bools, Floats, Halves, Match
from consumer.terms import terms_of
from consumer.whitening import Span, Whitening

DECIMALS = 5
"""What decides is rounded here, so that float noise of one batch shape or another decides nothing."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each modality lies in a vector."""

    names: Sequence[str]
    dims: Sequence[int]
    weights: Sequence[float]
    """Sum to 1."""

    @property
    def dim(self) -> int:
        return sum(self.dims)

    @property
    def blocks(self) -> list[slice]:
        ends = np.cumsum(self.dims)
        return [slice(int(end) - dim, int(end)) for end, dim in zip(ends, self.dims, strict=True)]

    def fuse(self, blocks: Sequence[Floats], present: Sequence[Bools]) -> tuple[Halves, list[int]]:
        """Unit blocks of n records, one array a modality → float16 [n, dim] and the mask of each row."""
        scaled = [block * np.float32(weight**0.5) for block, weight in zip(blocks, self.weights, strict=True)]
        masks = sum((p.astype(np.int64) << i for i, p in enumerate(present)), np.zeros(len(blocks[0]), np.int64))
        return np.concatenate(scaled, axis=1).astype(np.float16), [int(m) for m in masks]

    def spans(self, names: Sequence[str]) -> list[Span]:
        """Where some modalities lie."""
        blocks = list(enumerate(zip(self.names, self.blocks, self.weights, strict=True)))
        return [Span(n, block.start, block.stop, weight) for n, (name, block, weight) in blocks if name in names]

    def cosines(self, left: Floats, right: Floats, whitening: Whitening | None = None) -> Floats:
        """Of float32 [..., dim] with another, by modality: float32 [..., modalities]; 0 where one of the two is missing.

        A pair does not depend on others.
        """
        starts = [block.start for block in self.blocks]
        products = np.add.reduceat(left * right, starts, axis=-1)
        cosines = np.asarray(products / np.asarray(self.weights, np.float32), np.float32)
        for block in whitening.blocks if whitening else ():
            cosines[..., block.span.number] = block.cosines(left, right)
        return np.asarray(np.round(cosines, DECIMALS), np.float32)


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
        shares, evidence, means = self._means(pairs)
        crowding = self._crowding(pairs, beliefs)
        scores = np.round(means - crowding, DECIMALS)
        matches: list[Match | None] = [None] * len(pairs.ids)
        kept = np.flatnonzero(((scores >= self.spec.possible) | different) & (evidence > 0))
        duplicate = (scores >= self.spec.duplicate) & (evidence >= self.spec.min_evidence - 1e-9)
        columns = scores, duplicate, pairs.similarities, shares, crowding
        for i, *found in zip(kept.tolist(), *(column[kept].tolist() for column in columns), strict=True):
            matches[i] = self._match(pairs.ids[i], *found)
        return matches

    def scores(self, pairs: Comparison) -> Doubles:
        _, evidence, means = self._means(pairs)
        scores = np.round(means - self._crowding(pairs, Beliefs()), DECIMALS)
        return np.where((evidence > 0) & (evidence >= self.spec.min_evidence - 1e-9), scores, -1.0)

    def _crowding(self, pairs: Comparison, beliefs: Beliefs) -> Doubles:
        """What to take from each score, float64 [n], for what is usual here; below 0 where that is little."""
        spec = self.spec.crowding
        if spec is None or not pairs.ids:
            return np.zeros(len(pairs.ids))
        beliefs.belong(self.fingerprint)
        apart = np.asarray([name in spec.apart for name in self.layout.names])
        instead = np.asarray([spec.apart.get(name, 0.0) for name in self.layout.names])
        weights = pairs.present * self._weights
        ours = (weights * ~apart).sum(axis=1)
        means = (weights * ~apart * pairs.similarities).sum(axis=1) / np.maximum(ours, 1e-9)
        rows, own = of_farthest(pairs.rows, np.round(means, DECIMALS), ours > 0)
        seen = np.where(np.isnan(own), spec.usual, own)
        scope = beliefs.usual(seen[:, None], Expectations([spec.usual], base_rate=0.5, damping=0))[:, 0]
        beliefs.rows += len(own)
        beyond = (np.where(np.isnan(own), scope, own) + scope) / 2 - spec.usual
        taken = ours * np.minimum(beyond, spec.most)[rows] + (weights * instead).sum(axis=1)
        return np.asarray(taken / np.maximum(weights.sum(axis=1), 1e-9), np.float64)

    def _means(self, pairs: Comparison) -> tuple[Doubles, Doubles, Doubles]:
        """Share of each modality, weight present, weighted mean: [n, modalities], [n], [n]."""
        weights = pairs.present * self._weights
        evidence = weights.sum(axis=1)
        shares = weights / np.maximum(evidence, 1e-9)[:, None]
        return shares, evidence, np.round((shares * pairs.similarities).sum(axis=1), DECIMALS)

    @property
    def _weights(self) -> Doubles:
        named = self.spec.weights
        weights = np.asarray(self.layout.weights if named is None else [named.get(n, 0.0) for n in self.layout.names])
        return np.asarray(weights / weights.sum(), np.float64)

    def _match(
        self,
        record_id: str,
        score: float,
        duplicate: bool,
        similarities: Sequence[float],
        shares: Sequence[float],
        crowding: float,
    ) -> Match:
        spec = self.spec
        present = [(name, c, s) for name, c, s in zip(self.layout.names, similarities, shares, strict=True) if s]
        return Match(
            id=record_id,
            probability=probability(spec.slope * (score - spec.duplicate)),
            duplicate=duplicate,
            similarities={name: round(cosine, 4) for name, cosine, _ in present},
            contributions={name: round(spec.slope * s * (c - spec.duplicate), 4) for name, c, s in present}
            | ({"crowding": round(-spec.slope * crowding, 4)} if spec.crowding else {}),
        )


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
        cosines = np.round(pairs.similarities[kept].astype(np.float64), 4)
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


def probability(log_odds: float) -> float:
    """Four decimals of what the log-odds say."""
    return round(1 / (1 + math.exp(min(-log_odds, 700.0))), 4)


def _logit(chance: float) -> float:
    return math.log(chance / (1 - chance)) if chance < 1 else math.inf
