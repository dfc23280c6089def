"""`python -m export behaviour`: the behaviour encoder fitted on a user's own login times, in one small ONNX file.

What it learns: which hours, weekdays and gaps the population keeps (its baseline), and how far one person's habit moves
from one half of a history to the next. Directions in which persons are steady count for more. No label is needed.

On 695 records (388 pairs), fitted on half of the persons and judged on the other half, twenty splits: area under ROC of
pairs of one person .733 against .724 for the fixed encoder, better in 19 splits; of the halves of one history .715 against
.694, better in all. The splits are of one set, so this is no confidence interval. Whitening by the spread of the
population instead, and every PCA of either, did no better than the fixed encoder: the default has none.
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np

from consumer.adapters.behaviour_encoder import FEATURES, GAP, HABIT, BehaviourEncoder, times_of
from consumer.profile import FieldSpec
from consumer.records import Doubles
from export import choice, linear, own_records, spec
from export.errors import ExportError
from export.graph import OPSET, STORED
from export.parity import Reference
from export.projection import Floats, unit
from export.whitening import principal, whitening

SHRINK = 1.0
"""Of the spread within persons; between .3 and 4 it made a difference of .005, on the same splits."""
LOGINS = 8
"""Of a history that is cut into halves; four say something about a habit."""
LEAST = 40
"""Histories as long as that which a fit needs."""
_CHANCE = FEATURES - HABIT.stop - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--field", default="login_times", help="field of a record with its times")
    own_records.add_arguments(parser)
    choice.add_arguments(parser, STORED)


def run(arguments: argparse.Namespace) -> None:
    """Fit, measure, write. Raises ExportError, with nothing written, when the fixed encoder does as well."""
    encoder = BehaviourEncoder(arguments.field)
    records = own_records.read(arguments.data, {arguments.field: FieldSpec(type="timestamps")})
    whose = own_records.persons(arguments.truth, records)
    fit_rows, check_rows = own_records.split(len(records), whose, arguments.seed)
    weights = fit(encoder, [records[row] for row in fit_rows], arguments.dim)
    judged = [records[row] for row in check_rows]
    gains = [_halves(encoder, judged, weights)]
    if whose is not None:
        features, present = encoder.features(judged)
        owners = [whose[row] for row, there in zip(check_rows, present, strict=True) if there]
        gains.append(
            own_records.same_person(
                encoder.encode(judged).vectors[present], vectors(features[present], weights), owners
            )
        )
    own_records.require(gains, arguments.min_gain)
    graph = linear.habit(weights.reduced, _CHANCE)
    chosen = choice.best(graph, STORED, _feed, _reference(encoder, judged, weights), arguments)
    dim = weights.reduced.shape[1] + _CHANCE
    described = {
        "name": arguments.name,
        "modality": "behaviour",
        "inputs": {"features": f"float32 [n, {FEATURES}]"},
        "output": {"embedding": f"float32 [n, {dim}], unit rows"},
        "dim": dim,
        "preprocessing": {"features": encoder.revision, "width": FEATURES},
        "opset": OPSET,
        "training": {
            "data": "records of the user",
            "records": len(fit_rows),
            "features_sha256": sha256(encoder.features([records[row] for row in fit_rows])[0].tobytes()).hexdigest(),
            "seed": arguments.seed,
        },
        "licence": arguments.licence,
        "gain": [gain.as_json() for gain in gains],
        "versions": {name: version(name) for name in ("onnx", "numpy")},
        **chosen.as_json(),
    }
    body = (
        f"Fitted on {len(fit_rows)} records of its user. Means and a matrix of habits: no record and no time is in it."
    )
    folder = arguments.out / arguments.name
    spec.write(folder, described, {"model.onnx": chosen.model}, spec.notice(arguments.name, body, arguments.licence))


class Weights:
    """A fitted baseline [23] and matrix [23, dim]: habits less the baseline, times the matrix."""

    def __init__(self, baseline: Doubles, matrix: Doubles) -> None:
        self.baseline, self.matrix = baseline, matrix

    def apply(self, habits: Floats) -> Floats:
        """float32 [n, 23] → [n, dim], not of length 1. A history without a gap has no baseline of gaps either."""
        gapless = ~habits[:, GAP].any(axis=1, keepdims=True)
        centred = habits - self.baseline
        centred[:, GAP] = np.where(gapless, 0.0, centred[:, GAP])
        return np.asarray(centred @ self.matrix, np.float32)

    @property
    def reduced(self) -> Doubles:
        """The same as one matrix: weekdays add up to 1, gaps to 1 or 0, so they carry their baselines."""
        shift = np.zeros((HABIT.stop, HABIT.stop))
        shift[8:15, :15] = self.baseline[:15]
        shift[GAP, GAP] = self.baseline[GAP]
        combined: Doubles = (np.eye(HABIT.stop) - shift) @ self.matrix
        return combined


def fit(encoder: BehaviourEncoder, records: Sequence[Mapping[str, Any]], dim: int) -> Weights:
    """Raises ExportError when there are too few long histories, or `dim` is more than there is."""
    if not 0 <= dim <= HABIT.stop:
        raise ExportError(f"--dim {dim}: a habit has {HABIT.stop}")
    features, present = encoder.features(records)
    habits = features[present][:, HABIT].astype(np.float64)
    first, second = halves(encoder, records)
    if len(first) < LEAST:
        raise ExportError(
            f"--data: {len(first)} histories of {LOGINS} logins or more to fit on; at least {LEAST} are needed"
        )
    baseline = habits.mean(axis=0)
    with_gaps = habits[:, GAP].any(axis=1)
    baseline[GAP] = habits[with_gaps][:, GAP].mean(axis=0)
    moved = (first - second)[:, HABIT].astype(np.float64)
    within = whitening(moved.T @ moved / (2 * len(moved)), SHRINK)
    weights = Weights(baseline, within)
    if dim:
        weights = Weights(
            baseline, within @ principal(weights.apply(features[present][:, HABIT]).astype(np.float64), dim)
        )
    return weights


def halves(encoder: BehaviourEncoder, records: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """Features of the earlier and of the later half of each history that is long enough; cut by time, never at random."""
    first, second = _cut(encoder, records)
    return encoder.features(first)[0], encoder.features(second)[0]


def vectors(features: Floats, weights: Weights) -> Floats:
    """What the graph says, without the graph."""
    trust, chance = features[:, HABIT.stop : HABIT.stop + 1], features[:, HABIT.stop + 1 :]
    habits = unit(weights.apply(features[:, HABIT]))
    return unit(np.concatenate([np.sqrt(trust) * habits, np.sqrt(1 - trust) * chance], axis=1))


def _cut(
    encoder: BehaviourEncoder, records: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, list[str]]], list[dict[str, list[str]]]]:
    histories = [times_of(record.get(encoder.field)) for record in records]
    first, second = [], []
    for times in (times for times in histories if len(times) >= LOGINS):
        middle = len(times) // 2
        first.append({encoder.field: list(map(datetime.isoformat, times[:middle]))})
        second.append({encoder.field: list(map(datetime.isoformat, times[middle:]))})
    return first, second


def _halves(encoder: BehaviourEncoder, records: Sequence[Mapping[str, Any]], weights: Weights) -> own_records.Gain:
    first, second = _cut(encoder, records)
    if len(first) < 2:
        raise ExportError(f"--data: too few histories of {LOGINS} logins or more to measure on")
    fixed = encoder.encode(first).vectors, encoder.encode(second).vectors
    fitted = vectors(encoder.features(first)[0], weights), vectors(encoder.features(second)[0], weights)
    return own_records.own_halves(fixed, fitted)


def _feed(items: Sequence[Floats]) -> Mapping[str, Floats]:
    return {"features": np.stack(items)}


def _reference(encoder: BehaviourEncoder, records: Sequence[Mapping[str, Any]], weights: Weights) -> Reference[Floats]:
    features, present = encoder.features(records)
    rows = np.unique(features[present], axis=0)
    return Reference("records", list(rows), vectors(rows, weights), outlier=rows[-1])
