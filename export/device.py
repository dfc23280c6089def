"""`python -m export device`: the device encoder fitted on a user's own records, in one small ONNX file.

What it learns: how common each browser and system is, and which go together. A family that half of the population runs
then says little beside a rare one, and two strangers are about 0 instead of .4.

Two records with the same two families have cosine 1 whatever is fitted: only what they share in part is judged anew. So
do not expect it to find more duplicates. On 695 records (388 pairs), fitted on half of the persons and judged on the
other half, sixty splits: area under ROC .002 above the fixed encoder in the mean, with a spread of .007; weights by inverse
frequency alone .001. What changes is the level: the mean cosine of any two records falls from .40 to .05, so a common device
no longer lifts every score.
"""

import argparse
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np

from consumer.adapters.device_encoder import BROWSER, SYSTEM, DeviceEncoder
from consumer.profile import FieldSpec
from consumer.records import Doubles
from export import choice, linear, own_records, spec
from export.errors import ExportError
from export.graph import OPSET, STORED
from export.parity import Reference
from export.projection import Floats, unit
from export.whitening import whitening

SHRINK = 1.0
LEAST = 50
"""Records a fit needs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--browser", default="browser", help="field of a record with its browser")
    parser.add_argument("--system", default="os", help="field of a record with its operating system")
    own_records.add_arguments(parser)
    # No gain is promised, and chance moves what is measured: only what is clearly worse is refused.
    parser.set_defaults(min_gain=-0.02)
    choice.add_arguments(parser, STORED)


def run(arguments: argparse.Namespace) -> None:
    """Fit, measure, write. Raises ExportError, with nothing written, when it is worse than the fixed encoder."""
    encoder = DeviceEncoder(arguments.browser, arguments.system)
    records = own_records.read(
        arguments.data, dict.fromkeys((arguments.browser, arguments.system), FieldSpec(type="text"))
    )
    whose = own_records.persons(arguments.truth, records)
    fit_rows, check_rows = own_records.split(len(records), whose, arguments.seed)
    families, present = encoder.features([records[row] for row in fit_rows])
    weights = fit(families[present], arguments.dim)
    judged = [records[row] for row in check_rows]
    gains = []
    if whose is not None:
        seen, there = encoder.features(judged)
        owners = [whose[row] for row, known in zip(check_rows, there, strict=True) if known]
        gains = [own_records.same_person(encoder.encode(judged).vectors[there], unit(seen[there] @ weights), owners)]
    own_records.require(gains, arguments.min_gain)
    chosen = choice.best(linear.product(weights), STORED, _feed, _reference(encoder, records, weights), arguments)
    dim = weights.shape[1]
    described = {
        "name": arguments.name,
        "modality": "device",
        "inputs": {"features": f"float32 [n, {weights.shape[0]}]"},
        "output": {"embedding": f"float32 [n, {dim}], unit rows"},
        "dim": dim,
        "preprocessing": {"features": encoder.revision, "width": weights.shape[0]},
        "opset": OPSET,
        "training": {
            "data": "records of the user",
            "records": len(fit_rows),
            "features_sha256": sha256(families.tobytes()).hexdigest(),
            "seed": arguments.seed,
        },
        "licence": arguments.licence,
        "gain": [gain.as_json() for gain in gains] or "not measured: no --truth was given",
        "versions": {name: version(name) for name in ("onnx", "numpy")},
        **chosen.as_json(),
    }
    body = f"Fitted on {len(fit_rows)} records of its user. Shares of browsers and systems: no record is in it."
    folder = arguments.out / arguments.name
    spec.write(folder, described, {"model.onnx": chosen.model}, spec.notice(arguments.name, body, arguments.licence))


def fit(families: Floats, dim: int) -> Doubles:
    """float64 [36, dim]: families less the share of each in the population, whitened.

    Raises ExportError when there are too few records, or `dim` is more than there is.
    """
    width = families.shape[1]
    if not 0 <= dim <= width:
        raise ExportError(f"--dim {dim}: there are {width} families")
    if len(families) < LEAST:
        raise ExportError(f"--data: {len(families)} records with a device to fit on; at least {LEAST} are needed")
    shift = np.zeros((width, width))
    for part in (BROWSER, SYSTEM):
        counts = families[:, part].sum(axis=0).astype(np.float64)
        # One is added to each: what everybody has would otherwise be nothing once its share is taken off. A record has
        # one family of each kind or none, so the families carry the shares, and a missing one has none taken off.
        shift[part, part] = (counts + 1) / (counts + 1).sum()
    centred = np.eye(width) - shift
    matrix: Doubles = centred @ whitening(np.cov(families @ centred, rowvar=False), SHRINK)
    return matrix[:, : dim or width]


def _feed(items: Sequence[Floats]) -> Mapping[str, Floats]:
    return {"features": np.stack(items)}


def _reference(encoder: DeviceEncoder, records: Sequence[Mapping[str, Any]], weights: Doubles) -> Reference[Floats]:
    """Every combination that the records have: there are few."""
    families, present = encoder.features(records)
    rows = np.unique(families[present], axis=0)
    if len(rows) < 3:
        raise ExportError(f"--data: {len(rows)} different devices; there is nothing to tell apart")
    return Reference("records", list(rows), unit(rows @ weights), outlier=rows[-1])
