"""Labelled candidate pairs to fit a decider on: a folder of records through the encoders and the search of the service."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from consumer.decode import decode
from consumer.encode import EncoderSet
from consumer.errors import RejectedError, SettingsError
from consumer.evaluate import read_truth
from consumer.feedback import read_verdicts, standing
from consumer.lines import lines_of
from consumer.pairs import PairTable, candidate_pairs
from consumer.ports import VectorIndex
from consumer.profile import Profile
from consumer.records import Bools, Message, Position, Record, Vector
from export.errors import ExportError

SET_WEIGHT = 100_000.0
"""Of all pairs of a set together, so that no large set decides alone."""
_BATCH = 512
_ORDER_SEED = 1
"""Files are often sorted by cluster, which no stream is."""
_SAID = {"1": True, "true": True, "True": True, "0": False, "false": False, "False": False}


@dataclass(frozen=True, slots=True)
class PairSet:
    """The candidate pairs of a folder, as they come when its records arrive in a random order."""

    name: str
    table: PairTable
    same: Bools
    """[n] whether the two of a pair are one."""
    known: Bools
    """[n] whether that is known."""
    truth: Mapping[str, str] | None
    """Record → cluster; None where only some pairs were judged, so that clusters cannot be scored."""
    sources: Mapping[str, object] | None
    """Record → where it comes from, where only pairs across sources are known."""

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Of the known pairs, SET_WEIGHT together."""
        count = int(self.known.sum())
        return np.full(count, SET_WEIGHT / max(count, 1))


def read(
    folder: Path,
    encoders: EncoderSet,
    new_index: Callable[[], VectorIndex],
    k: int,
    *,
    across: bool,
    whitened: Sequence[str] = (),
) -> PairSet:
    """Records of `<input>.jsonl`, and what is known of them, from the first of these files that is there.

    `labelled_pairs.csv` (id_a, id_b, match) and `feedback.jsonl` (what people said) tell of some pairs, `truth.csv` (id,
    cluster_id) of all, or, with `across`, of those whose records differ in `source`. Raises ExportError.
    """
    profile = encoders.profile
    values, vectors = _encoded(folder / f"{profile.input}.jsonl", encoders)
    table = candidate_pairs(vectors, encoders.layout, new_index, k, whitened)
    judged = _judged(folder, profile)
    if judged is not None:
        pairs = zip(table.later.tolist(), table.earlier.tolist(), strict=True)
        found = [judged.get(frozenset((table.ids[a], table.ids[b]))) for a, b in pairs]
        same, known = np.array([f is True for f in found], bool), np.array([f is not None for f in found], bool)
        return PairSet(folder.name, table, same, known, None, None)
    try:
        truth = {r: cluster for r, cluster in read_truth(folder / "truth.csv").items() if r in values}
    except SettingsError as error:
        raise ExportError(f"--data {folder}: {error}") from error
    sources = {r: value.get("source") for r, value in values.items()} if across else None
    labelled = np.array([record_id in truth for record_id in table.ids], bool)
    known = labelled[table.later] & labelled[table.earlier]
    if sources is not None:
        known &= np.array([sources[table.ids[a]] != sources[b] for a, b in _named(table)], bool)
    return PairSet(folder.name, table, table.same(truth), known, truth, sources)


def _named(table: PairTable) -> list[tuple[int, str]]:
    return list(zip(table.later.tolist(), table.pairs.ids, strict=True))


def _encoded(path: Path, encoders: EncoderSet) -> tuple[dict[str, Mapping[str, object]], list[Vector]]:
    """The records of a file, and their vectors in a random order."""
    values: dict[str, Mapping[str, object]] = {}
    try:
        for line in filter(bytes.strip, lines_of(path)):
            value = orjson.loads(line)
            values[_id(value)] = value
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ExportError(f"{path}: records with an id are wanted, a JSON object a line ({error!r})") from error
    order = np.random.default_rng(_ORDER_SEED).permutation(len(values))
    ids = list(values)
    records = [_record(path, ids[i], values[ids[i]], encoders.profile, place) for place, i in enumerate(order.tolist())]
    starts = range(0, len(records), _BATCH)
    return values, [vector for start in starts for vector in encoders.encode(records[start : start + _BATCH])]


def _id(value: Mapping[str, object]) -> str:
    if not isinstance(found := value["id"], str):
        raise TypeError("id is no string")
    return found


def _record(path: Path, record_id: str, value: Mapping[str, object], profile: Profile, place: int) -> Record:
    try:
        record = decode(Message(Position(path.name, 0, place), record_id.encode(), orjson.dumps(value), 0), profile)
    except RejectedError as error:
        raise ExportError(f"{path}: record {record_id}: {error}") from None
    assert isinstance(record, Record)  # it has a value
    return record


def _judged(folder: Path, profile: Profile) -> dict[frozenset[str], bool] | None:
    """What is known of single pairs; None where the folder has no such file."""
    pairs, feedback = folder / "labelled_pairs.csv", folder / "feedback.jsonl"
    if pairs.exists():
        try:
            with pairs.open(encoding="utf-8-sig", newline="") as rows:
                return {frozenset((row["id_a"], row["id_b"])): _SAID[row["match"]] for row in csv.DictReader(rows)}
        except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
            raise ExportError(f"{pairs}: columns id_a, id_b and match (1 or 0) are wanted ({error!r})") from error
    if feedback.exists():
        try:
            said = standing(read_verdicts(feedback, profile))
        except SettingsError as error:
            raise ExportError(str(error)) from error
        return {frozenset((verdict.a, verdict.b)): verdict.says == "same" for verdict in said}
    return None
