"""What a decider is worth on sets it was not fitted on: each is scored by one that was fitted on all the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from consumer.evaluation import Scores, overlap
from consumer.evidence import EvidenceGraph
from consumer.fusion_spec import LearnedSpec
from consumer.layout import Layout
from consumer.learned_fusion import LearnedFusion
from consumer.merging import MergeRules
from consumer.partition import partition
from consumer.records import Bools, Doubles, Evidence, Match, Member
from consumer.words import Words
from export.additive import Additive
from export.pair_sets import PairSet

_HALVES_SEED = 4
POSSIBLE_SHARE = 0.3
"""Pairs of this share of the duplicate probability count as possible, when clusters are made here."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of about the same probability."""

    least: float
    mean: float
    """Of the probabilities."""
    matches: float
    """Share that are one: the same as `mean`, where probabilities mean what they say."""
    pairs: int


def halves(sets: Sequence[PairSet]) -> tuple[list[PairSet], list[PairSet]]:
    """Each set cut in two by entity, at random: what the first half knows to fit on, the second half to score.

    Sets of judged pairs are whole in the first, and not in the second.
    """
    first, second = [], []
    for one in sets:
        if one.truth is None:
            first.append(one)
            continue
        truth = one.truth
        lots = np.random.default_rng(_HALVES_SEED).random(len(owners := sorted(set(truth.values())))) < 0.5
        chosen = dict(zip(owners, lots.tolist(), strict=True))
        ours = np.array([chosen.get(truth.get(r, ""), False) for r in one.table.ids], bool)
        theirs = np.array([not chosen.get(truth.get(r, ""), True) for r in one.table.ids], bool)
        first.append(replace(one, known=one.known & ours[one.table.later] & ours[one.table.earlier]))
        among = theirs[one.table.later] & theirs[one.table.earlier]
        rest = {r: owner for r, owner in truth.items() if not chosen[owner]}
        second.append(
            replace(one, table=one.table.take(among), same=one.same[among], known=one.known[among], truth=rest)
        )
    return first, second


def log_odds(decider: Additive, layout: Layout, one: PairSet) -> Doubles:
    """Of every pair of a set, with the prior and the crowding that its stream would have shown."""
    spec = LearnedSpec(kind="learned", model="", duplicate=0.5, possible=0.5, min_evidence=0)
    chances = np.clip(LearnedFusion(layout, spec, decider).scores(one.table.pairs), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(chances / (1 - chances)), np.float64)


def platt(log_odds: Sequence[Doubles], sets: Sequence[PairSet]) -> tuple[float, float]:
    """The factor and the offset that make log-odds of known pairs mean what they say (Platt 1999)."""
    values = np.concatenate([z[s.known] for z, s in zip(log_odds, sets, strict=True)])
    same = np.concatenate([s.same[s.known] for s in sets])
    weights = np.concatenate([s.weights for s in sets])
    model = LogisticRegression(C=np.inf).fit(values[:, None], same, sample_weight=weights)
    return round(float(model.coef_[0, 0]), 4), round(float(model.intercept_[0]), 4)


def reliability(log_odds: Sequence[Doubles], sets: Sequence[PairSet], bins: int = 10) -> list[Bin]:
    """Known pairs by their probability, those of each set weighing the same; bins without pairs are left out."""
    chances = np.concatenate([1 / (1 + np.exp(-z[s.known])) for z, s in zip(log_odds, sets, strict=True)])
    same = np.concatenate([s.same[s.known] for s in sets])
    weights = np.concatenate([s.weights for s in sets])
    number = np.minimum((chances * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        inside = number == b
        if inside.any():
            mean, matches = (float(np.average(v[inside], weights=weights[inside])) for v in (chances, same))
            found.append(Bin(b / bins, round(mean, 4), round(matches, 4), int(inside.sum())))
    return found


def clusters(one: PairSet, log_odds: Doubles, threshold: float, rules: MergeRules) -> dict[str, int]:
    """Record → cluster, as a batch of all records would part them. Pairs below the threshold may still bridge medoids."""
    chances = 1 / (1 + np.exp(-log_odds))
    kept = np.flatnonzero(chances >= threshold * POSSIBLE_SHARE)
    near: dict[str, dict[str, Evidence]] = {}
    joined = set[str]()
    ids, table = one.table.ids, one.table
    for i in kept.tolist():
        a, b = sorted((ids[table.later[i]], ids[table.earlier[i]]))
        duplicate = bool(chances[i] >= threshold)
        edge = Evidence(a, b, Match(b, round(float(chances[i]), 4), duplicate, {}, {}))
        near.setdefault(a, {})[b] = near.setdefault(b, {})[a] = edge
        if duplicate:
            joined |= {a, b}
    evidence = EvidenceGraph()
    evidence.load(near)
    place = {record_id: number for number, record_id in enumerate(ids)}
    parted = partition({r: Member(place[r], 0.0) for r in joined}, evidence, Words(), rules)
    return {r: number for number, group in enumerate(parted.groups) for r in group}


def scored(one: PairSet, log_odds: Doubles, threshold: float, rules: MergeRules) -> Scores:
    """Pairwise scores of those clusters; the set must have the truth of all."""
    assert one.truth is not None
    sources: Mapping[str, object] | None = one.sources
    found = clusters(one, log_odds, threshold, rules)
    return overlap(one.truth, found, None if sources is None else {r: str(s) for r, s in sources.items()}).pairwise()


def precision_at(one: PairSet, log_odds: Doubles, threshold: float) -> tuple[float, int]:
    """Share of known pairs from a probability on that are one, and how many there are."""
    chosen: Bools = one.known & (log_odds >= np.log(threshold / (1 - threshold)))
    return (float(one.same[chosen].mean()) if chosen.any() else 1.0), int(chosen.sum())
