"""An additive decider: log-odds as a sum of a function of each similarity, fitted by logistic regression.

The function of a modality is broken into straight pieces at KNOTS, flat below 0, and counts only where both records have it, so what is
missing says nothing. Crowding terms, how much more crowded than usual the neighbourhood of a record is, are linear, as is
quality, how much more complete than usual the better of the two records is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from consumer.background import Background, of_farthest
from consumer.beliefs import Beliefs, Expectations
from consumer.records import Bools, Doubles, Floats
from consumer.terms import terms_of
from export.errors import ExportError
from export.pair_sets import SET_WEIGHT, PairSet

KNOTS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MAX_PAIRS = 60_000
"""Of a set, drawn at random where it has more: more of one kind say little that is new."""
_DROP = 0.5
"""Chance of a modality to be taken away, in the share of the fit that asks for it."""
_BACKGROUND_MOST = 4.0
"""Log-odds: the farthest candidates of a record that is there fifty times have a dozen more than usual."""
AGAINST_WEIGHT = 0.3
"""Of what a set weighs, for each modality of `against`, if all of its pairs were such matches."""
_AGREES, _DISAGREES = 0.9, 0.4
_SCALE = 3.0
"""A piece's slope is held back less than a constant by the same penalty."""


@dataclass(frozen=True, slots=True)
class Additive:
    """Implements `consumer.learned_fusion.Decider` in numpy; `export.decider_graph` writes it as a graph."""

    modalities: Sequence[str]
    crowding: Mapping[str, float]
    expectations: Expectations
    intercept: float
    constants: Doubles
    """[m], added where a modality is present."""
    slopes: Doubles
    """[m, 1 + knots], per unit of similarity, and of what it is above each knot."""
    crowding_slopes: Doubles
    """[c]"""
    quality_slope: float | None
    """None where it does not look at quality."""
    whitened: Sequence[str] = ()
    """Modalities whose cosines it was fitted on whitened."""
    background: Background | None = None

    @property
    def quality(self) -> bool:
        return self.quality_slope is not None

    @property
    def fingerprint(self) -> str:
        return ""

    def weigh(self, similarities: Floats, present: Bools, beyond: Doubles) -> Doubles:
        """See `consumer.learned_fusion.Decider`."""
        pieces = _pieces(np.asarray(similarities, np.float64))
        of_modalities = ((pieces * self.slopes).sum(axis=2) + self.constants) * present
        base = np.full((len(pieces), 1), self.intercept)
        slopes = np.append(self.crowding_slopes, [] if self.quality_slope is None else [self.quality_slope])
        return np.concatenate([base, of_modalities, beyond * slopes], axis=1)

    def calibrated(self, factor: float, offset: float) -> "Additive":
        """The same, with log-odds stretched and moved: Platt's scaling keeps a sum a sum."""
        return replace(
            self,
            intercept=self.intercept * factor + offset,
            constants=self.constants * factor,
            slopes=self.slopes * factor,
            crowding_slopes=self.crowding_slopes * factor,
            quality_slope=None if self.quality_slope is None else self.quality_slope * factor,
            background=self.background and self.background.calibrated(factor, offset),
        )


def fit(
    sets: Sequence[PairSet],
    names: Sequence[str],
    crowding: Mapping[str, float],
    *,
    damping: float,
    ridge: float,
    neuron: bool,
    quality: bool = False,
    against: Sequence[str] = (),
    dropped: float = 0.0,
    whitened: Sequence[str] = (),
    background_slope: float = 0.0,
) -> Additive:
    """Fit on the known pairs of some sets, each weighing the same; a neuron has one weight a modality and no more.

    `quality` looks at how complete records are. A match whose records would contradict each other in a modality of
    `against` counts as none. `dropped` is the share of the fit that sees pairs with modalities taken away at random.
    `background_slope` is no part of the fit: see `consumer.background.Background`.
    Modalities that no set has are left out: nothing is known of them. Raises ExportError where all pairs are alike.
    """
    there = [n for n, _ in enumerate(names) if any(s.table.pairs.present[s.known][:, n].any() for s in sets)]
    modalities = [names[n] for n in there]
    crowding = {} if neuron else {m: similarity for m, similarity in crowding.items() if m in modalities}
    near = {names.index(m): similarity for m, similarity in crowding.items()}
    around = [terms_of(s.table.pairs, there, near, quality=quality and not neuron) for s in sets]
    crowded = np.mean([terms.seen.mean(axis=0)[: len(crowding)] for terms in around], axis=0)
    usual = [*(round(float(mean), 4) for mean in crowded), *([None] if quality and not neuron else [])]
    expectations = Expectations(usual, _base_rate(sets), 0.0 if neuron else damping)
    beyond = [terms.beyond(Beliefs().usual(terms.seen, expectations)) for terms in around]
    designs, labels, weights = [], [], []
    for one, extra in zip(sets, beyond, strict=True):
        pairs, rows = one.table.pairs, _sample(one)
        cosines, present, same = pairs.similarities[rows][:, there], pairs.present[rows][:, there], one.same[rows]
        views = [(1 - dropped, cosines, present, same)]
        views += [(dropped, cosines, _kept(present), same)] if dropped else []
        numbers = [modalities.index(m) for m in against if m in modalities]
        views += [(AGAINST_WEIGHT, *_contradicted(cosines, present, same, number)) for number in numbers]
        of_set = np.tile([float(one is other) for other in sets], (len(rows), 1))
        for share, seen, there_too, label in views:
            designs.append(np.column_stack([of_set, _design(seen, there_too, neuron=neuron), extra[rows]]))
            labels.append(label)
            weights.append(np.where(there_too.any(axis=1), share * SET_WEIGHT / len(rows), 0.0))
    same = np.concatenate(labels)
    if same.all() or not same.any():
        raise ExportError(
            f"--data: of the known pairs of {', '.join(s.name for s in sets)} {'all' if same.all() else 'none'} are matches; "
            "both kinds are wanted, also when any one of the folders is left out"
        )
    model = LogisticRegression(C=1 / ridge, solver="newton-cholesky").fit(
        np.concatenate(designs), same, sample_weight=np.concatenate(weights)
    )
    # Constants of sets and of presence only take what sets differ in, so that slopes do not, and are left behind: kept, having
    # a modality would count as being of the set that has it.
    found = model.coef_[0, len(sets) :]
    m, pieces = len(there), 1 if neuron else 1 + len(KNOTS)
    of_terms = found[len(found) - len(usual) :]
    slopes = found[: len(found) - len(usual)][-m * pieces :].reshape(m, pieces)
    scale = np.array([1.0] + [_SCALE] * (pieces - 1))
    whole = np.zeros((m, 1 + len(KNOTS)))
    whole[:, :pieces] = slopes * scale
    constants = np.zeros(m) if neuron else _constants(sets, there, whole)
    of_quality = float(of_terms[-1]) if quality and not neuron else None
    of_crowding = of_terms[: len(crowding)]
    loose = Additive(modalities, crowding, expectations, 0.0, constants, whole, of_crowding, of_quality, whitened)
    fitted = _with_intercept(loose, sets, there, beyond)
    if not background_slope or neuron:
        return fitted
    return replace(fitted, background=_background(fitted, sets, there, beyond, background_slope))


def _background(
    fitted: Additive, sets: Sequence[PairSet], there: Sequence[int], beyond: Sequence[Doubles], slope: float
) -> Background:
    """What is usual of the farthest candidates, each set weighing the same. Raises ExportError where none has enough."""
    means = []
    for one, extra in zip(sets, beyond, strict=True):
        pairs = one.table.pairs
        log_odds = fitted.weigh(pairs.similarities[:, there], pairs.present[:, there], extra).sum(axis=1)
        found = of_farthest(pairs.rows, log_odds, np.ones(len(log_odds), bool))[1]
        means += [float(np.nanmean(found))] if np.isfinite(found).any() else []
    if not means:
        raise ExportError("--background: no record of --data has 16 candidates, the least to tell the farthest by")
    return Background(slope, round(float(np.mean(means)), 4), _BACKGROUND_MOST)


def _constants(sets: Sequence[PairSet], there: Sequence[int], slopes: Doubles) -> Doubles:
    """What makes each function a ratio of likelihoods: over pairs that are no matches, such a ratio is 1 on average."""
    sums = np.zeros((2, len(there)))
    for one in sets:
        rows = _sample(one)
        rows = rows[~one.same[rows]]
        present = one.table.pairs.present[rows][:, there]
        values = (_pieces(one.table.pairs.similarities[rows][:, there].astype(np.float64)) * slopes).sum(axis=2)
        sums += np.stack([(np.exp(values) * present).sum(axis=0), present.sum(axis=0)]) * SET_WEIGHT / max(len(rows), 1)
    return np.asarray(-np.log(sums[0] / np.maximum(sums[1], 1e-9)), np.float64)


def _with_intercept(
    loose: Additive, sets: Sequence[PairSet], there: Sequence[int], beyond: Sequence[Doubles]
) -> Additive:
    """Stretched and moved to what the sets say together."""
    values, same, weights = [], [], []
    for one, extra in zip(sets, beyond, strict=True):
        pairs, rows = one.table.pairs, _sample(one)
        seen = loose.weigh(pairs.similarities[rows][:, there], pairs.present[rows][:, there], extra[rows])
        values.append(seen.sum(axis=1))
        same.append(one.same[rows])
        weights.append(np.full(len(rows), SET_WEIGHT / len(rows)))
    model = LogisticRegression(C=np.inf).fit(
        np.concatenate(values)[:, None], np.concatenate(same), sample_weight=np.concatenate(weights)
    )
    return loose.calibrated(float(model.coef_[0, 0]), float(model.intercept_[0]))


def _sample(one: PairSet) -> npt.NDArray[np.int64]:
    """Numbers of the known pairs, or of so many of them at random."""
    known = np.flatnonzero(one.known)
    return np.sort(np.random.default_rng(0).choice(known, min(len(known), MAX_PAIRS), replace=False))


def _kept(present: Bools) -> Bools:
    """Of what is present in each pair, a part at random, something at least."""
    lots = np.random.default_rng(1).random(present.shape)
    best = np.where(present, lots, -1.0).max(axis=1, keepdims=True)
    return np.asarray(present & ((lots > _DROP) | (lots == best)), bool)


def _contradicted(cosines: Floats, present: Bools, same: Bools, modality: int) -> tuple[Floats, Bools, Bools]:
    """The matches that agree in a modality, as they would look if they did not, and so were none; other pairs are absent."""
    changed = cosines.copy()
    changed[:, modality] = np.random.default_rng(2).uniform(0.0, _DISAGREES, len(changed))
    agreeing = same & present[:, modality] & (cosines[:, modality] >= _AGREES)
    return changed, present & agreeing[:, None], np.zeros(len(same), bool)


def _design(similarities: Floats, present: Bools, *, neuron: bool) -> Doubles:
    """Columns: presence of each modality, its pieces; of a neuron similarities alone."""
    there = present.astype(np.float64)
    cosines = similarities.astype(np.float64) * there
    if neuron:
        return np.maximum(cosines, 0.0)
    pieces = _pieces(cosines) * there[:, :, None]
    pieces[:, :, 1:] *= _SCALE
    return np.column_stack([there, pieces.reshape(len(pieces), -1)])


def _pieces(similarities: Doubles) -> Doubles:
    """Similarities [n, m] → [n, m, 1 + knots]."""
    whole = np.maximum(similarities, 0.0)[:, :, None]
    return np.concatenate([whole, np.maximum(whole - np.array(KNOTS), 0.0)], axis=2)


def _base_rate(sets: Sequence[PairSet]) -> float:
    return round(float(np.mean([s.same[s.known].mean() for s in sets])), 6)
