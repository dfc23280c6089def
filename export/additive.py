"""An additive decider: log-odds as a sum of a function of each similarity, fitted by logistic regression.

The function of a modality is broken into straight pieces at KNOTS, flat below 0, and counts only where both records have it, so what is
missing says nothing. Crowding terms, how much more crowded than usual the neighbourhood of a record is, are linear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from consumer.beliefs import Beliefs, Expectations
from consumer.comparison import Comparison
from consumer.records import Bools, Floats
from export.errors import ExportError
from export.pair_sets import SET_WEIGHT, PairSet

Doubles = npt.NDArray[np.float64]

KNOTS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MAX_PAIRS = 60_000
"""Of a set, drawn at random where it has more: more of one kind say little that is new."""
_DROP = 0.5
"""Chance of a modality to be taken away, in the share of the fit that asks for it."""
AGAINST_WEIGHT = 0.3
"""Of what a set weighs, for each modality of `against`, if all of its pairs were such matches."""
_AGREES, _DISAGREES = 0.9, 0.4
_SCALE = 3.0
"""A piece's slope is held back less than a constant by the same penalty."""


@dataclass(frozen=True, slots=True)
class Additive:
    """Implements `consumer.fusion.Decider` in numpy; `export.decider_graph` writes it as a graph."""

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

    @property
    def fingerprint(self) -> str:
        return ""

    def weigh(self, similarities: Floats, present: Bools, crowding: Doubles) -> Doubles:
        """See `consumer.fusion.Decider`."""
        pieces = _pieces(np.asarray(similarities, np.float64))
        of_modalities = ((pieces * self.slopes).sum(axis=2) + self.constants) * present
        base = np.full((len(pieces), 1), self.intercept)
        return np.concatenate([base, of_modalities, crowding * self.crowding_slopes], axis=1)

    def calibrated(self, factor: float, offset: float) -> "Additive":
        """The same, with log-odds stretched and moved: Platt's scaling keeps a sum a sum."""
        return replace(
            self,
            intercept=self.intercept * factor + offset,
            constants=self.constants * factor,
            slopes=self.slopes * factor,
            crowding_slopes=self.crowding_slopes * factor,
        )


def fit(
    sets: Sequence[PairSet],
    names: Sequence[str],
    crowding: Mapping[str, float],
    *,
    damping: float,
    ridge: float,
    neuron: bool,
    against: Sequence[str] = (),
    dropped: float = 0.0,
) -> Additive:
    """Fit on the known pairs of some sets, each weighing the same; a neuron has one weight a modality and no more.

    A match whose records would contradict each other in a modality of `against` counts as none. `dropped` is the share
    of the fit that sees pairs with modalities taken away at random.
    Modalities that no set has are left out: nothing is known of them. Raises ExportError where all pairs are alike.
    """
    there = [n for n, _ in enumerate(names) if any(s.table.pairs.present[s.known][:, n].any() for s in sets)]
    modalities = [names[n] for n in there]
    terms = {} if neuron else {m: similarity for m, similarity in crowding.items() if m in modalities}
    usual = _usual(sets, names, terms)
    expectations = Expectations(usual, _base_rate(sets), 0.0 if neuron else damping)
    designs, labels, weights = [], [], []
    for one in sets:
        pairs, rows = one.table.pairs, _sample(one)
        cosines, present, same = pairs.similarities[rows][:, there], pairs.present[rows][:, there], one.same[rows]
        crowd = _crowding(pairs, names, terms, expectations)[rows]
        views = [(1 - dropped, cosines, present, same)]
        views += [(dropped, cosines, _kept(present), same)] if dropped else []
        numbers = [modalities.index(m) for m in against if m in modalities]
        views += [(AGAINST_WEIGHT, *_contradicted(cosines, present, same, number)) for number in numbers]
        of_set = np.tile([float(one is other) for other in sets], (len(rows), 1))
        for share, seen, there_too, label in views:
            designs.append(np.column_stack([of_set, _design(seen, there_too, neuron=neuron), crowd]))
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
    slopes = found[len(found) - len(terms) - m * pieces : len(found) - len(terms)].reshape(m, pieces)
    scale = np.array([1.0] + [_SCALE] * (pieces - 1))
    whole = np.zeros((m, 1 + len(KNOTS)))
    whole[:, :pieces] = slopes * scale
    constants = np.zeros(m) if neuron else _constants(sets, there, whole)
    loose = Additive(modalities, terms, expectations, 0.0, constants, whole, found[len(found) - len(terms) :])
    return _with_intercept(loose, sets, there, names)


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


def _with_intercept(loose: Additive, sets: Sequence[PairSet], there: Sequence[int], names: Sequence[str]) -> Additive:
    """Stretched and moved to what the sets say together."""
    values, same, weights = [], [], []
    for one in sets:
        pairs, rows = one.table.pairs, _sample(one)
        crowd = _crowding(pairs, names, loose.crowding, loose.expectations)[rows]
        seen = loose.weigh(pairs.similarities[rows][:, there], pairs.present[rows][:, there], crowd)
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


def _crowding(pairs: Comparison, names: Sequence[str], terms: Mapping[str, float], expected: Expectations) -> Doubles:
    """How much more crowded than usual the row of each pair is, [n, terms]."""
    counts, row = crowded(pairs, names, terms)
    there = pairs.present[:, [names.index(modality) for modality in terms]]
    return Beliefs().crowded(counts, expected)[row] * there


def crowded(
    pairs: Comparison, names: Sequence[str], crowding: Mapping[str, float]
) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Logarithm of one more than the near candidates of each row, [rows, terms], and the row of each pair."""
    _, row = np.unique(pairs.rows, return_inverse=True)
    counts = np.zeros((int(row.max(initial=-1)) + 1, len(crowding)))
    for term, (modality, least) in enumerate(crowding.items()):
        n = names.index(modality)
        near = (pairs.similarities[:, n] >= least) & pairs.present[:, n]
        np.add.at(counts[:, term], row[near], 1)
    return np.log1p(counts), row


def _pieces(similarities: Doubles) -> Doubles:
    """Similarities [n, m] → [n, m, 1 + knots]."""
    whole = np.maximum(similarities, 0.0)[:, :, None]
    return np.concatenate([whole, np.maximum(whole - np.array(KNOTS), 0.0)], axis=2)


def _usual(sets: Sequence[PairSet], names: Sequence[str], crowding: Mapping[str, float]) -> list[float]:
    means = [crowded(s.table.pairs, names, crowding)[0].mean(axis=0) for s in sets]
    return [round(float(mean), 4) for mean in np.mean(means, axis=0)] if crowding else []


def _base_rate(sets: Sequence[PairSet]) -> float:
    return round(float(np.mean([s.same[s.known].mean() for s in sets])), 6)
