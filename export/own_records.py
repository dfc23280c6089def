"""A user's own records, to fit an encoder on, and what the fit is worth on records that it has not seen."""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from consumer.decode import read_field
from consumer.errors import RejectedError
from consumer.profile import FieldSpec
from export.arguments import natural
from export.errors import ExportError
from export.projection import Floats

HELD_OUT = 5
"""One record, or person, in so many is kept from the fit."""
MOST = 4_000
"""Records that are kept, since all their pairs are looked at."""


@dataclass(frozen=True, slots=True)
class Gain:
    """How well two records of one are told from two of two, by the fixed encoder and by the fitted: area under ROC."""

    pairs: str
    """What was told apart."""
    count: int
    """Pairs of one."""
    fixed: float
    fitted: float

    def as_json(self) -> dict[str, object]:
        return {
            "pairs": self.pairs,
            "count": self.count,
            "auc_fixed": round(self.fixed, 4),
            "auc_fitted": round(self.fitted, 4),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="records, a JSON object a line, as they are sent")
    parser.add_argument("--truth", type=Path, help="CSV with id and cluster_id, to measure what the fit is worth")
    parser.add_argument("--dim", type=natural, default=0, help="of a PCA of what is fitted; 0: none, which was better")
    parser.add_argument("--licence", default="not stated", help="terms of the folder: the data is yours")
    parser.add_argument(
        "--min-gain",
        type=float,
        default=0.0,
        help="least gain of area under ROC over the fixed encoder, on unseen records",
    )
    parser.add_argument("--seed", type=natural, default=7)


def read(path: Path, fields: Mapping[str, FieldSpec]) -> list[dict[str, Any]]:
    """The id and these fields of every record of a JSONL file, read as the service reads them.

    Raises ExportError naming the line that is no such record.
    """
    records = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ExportError(f"--data {path}, line {number}: no JSON object")
                read = {name: read_field(name, spec, record.get(name)) for name, spec in fields.items()}
                records.append({"id": record.get("id"), **read})
    except RejectedError as error:
        raise ExportError(f"--data {path}, line {number}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"--data {path}: cannot be read: {error}") from error
    except ValueError as error:
        raise ExportError(f"--data {path}, line {number}: not JSON: {error}") from error
    return records


def persons(path: Path | None, records: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Per record whose it is, from `id,cluster_id`; a record that is not listed is on its own. None without a file."""
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            known = {row["id"]: row["cluster_id"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ExportError(f"--truth {path}: cannot be read ({error!r}); wanted are id and cluster_id") from error
    found = [f"cluster {known[i]}" if (i := str(r.get("id"))) in known else f"alone {n}" for n, r in enumerate(records)]
    if len(set(found)) == len(found):
        raise ExportError(f"--truth {path}: no two records of --data are of one cluster there")
    return found


def split(count: int, whose: Sequence[str] | None, seed: int) -> tuple[list[int], list[int]]:
    """Rows to fit on and rows to measure on, `MOST` at most; with `whose`, all of a person on one side."""
    owners = list(map(str, range(count))) if whose is None else list(whose)
    rows = Counter(owners)
    drawn = sorted(rows)
    Random(seed).shuffle(drawn)
    kept: set[str] = set()
    measured = 0
    for owner in drawn[::HELD_OUT]:
        if measured + rows[owner] <= MOST:
            measured += rows[owner]
            kept.add(owner)
    return [row for row in range(count) if owners[row] not in kept], [
        row for row in range(count) if owners[row] in kept
    ]


def same_person(fixed: Floats, fitted: Floats, whose: Sequence[str]) -> Gain:
    """Over all pairs of rows, whether they are of one person. Raises ExportError when there is no such pair."""
    upper = np.triu_indices(len(whose), 1)
    owners = np.unique(np.array(whose), return_inverse=True)[1]
    same = owners[upper[0]] == owners[upper[1]]
    if not same.any() or same.all():
        raise ExportError("--truth: among the records kept for measuring no two are of one person; more are needed")
    return _gain("records of one person", same, (fixed @ fixed.T)[upper], (fitted @ fitted.T)[upper])


def own_halves(fixed: tuple[Floats, Floats], fitted: tuple[Floats, Floats]) -> Gain:
    """Whether the earlier and the later half of a history are of one record."""
    same = np.eye(len(fixed[0]), dtype=np.bool_).ravel()
    return _gain(
        "earlier and later half of one history",
        same,
        (fixed[0] @ fixed[1].T).ravel(),
        (fitted[0] @ fitted[1].T).ravel(),
    )


def require(gains: Sequence[Gain], least: float) -> None:
    """Raise ExportError unless the fit is worth `least`, wherever it was measured."""
    for gain in gains:
        print(f"{gain.pairs}: area under ROC {gain.fixed:.4f} fixed, {gain.fitted:.4f} fitted, {gain.count} pairs")
    # Written so that a NaN is a fault.
    if bad := [gain for gain in gains if not gain.fitted - gain.fixed >= least]:
        faults = "; ".join(f"{gain.pairs} {gain.fitted - gain.fixed:+.4f}" for gain in bad)
        raise ExportError(
            f"the fixed encoder does as well on records that were not fitted on ({faults}; --min-gain is {least}): "
            "keep it, or fit on more records; nothing was written"
        )


def _gain(pairs: str, same: npt.NDArray[np.bool_], fixed: Floats, fitted: Floats) -> Gain:
    return Gain(
        pairs,
        int(same.sum()),
        float(roc_auc_score(same, np.round(fixed, 5))),
        float(roc_auc_score(same, np.round(fitted, 5))),
    )
