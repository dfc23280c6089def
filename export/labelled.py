"""Records whose duplicates are known: a folder of them, read for training and for measuring."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from consumer.lines import lines_of
from export import names, titles
from export.errors import ExportError

MAX_RECORDS = 8_000
"""Larger sets are sampled by whole entities."""

_FILES: Mapping[str, tuple[str, ...]] = {
    "signups.jsonl": ("name", "city"),
    "listings.jsonl": ("title",),
    "records.jsonl": ("author", "artist", "title"),
}
_MAKERS = ("author", "artist")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """The records of a folder: a text and the entity of each, and what else a fair measure of it needs."""

    name: str
    fields: Sequence[str]
    texts: Sequence[str]
    entities: Sequence[str]
    corrupt: Callable[[str, Random], str]
    sides: Sequence[str] = ()
    """The source of each record where there are two: only pairs across them are known."""
    pairs: Sequence[tuple[int, int, bool]] = ()
    """Where only some pairs were judged: rows, and whether they match."""


def read(folder: Path, seed: int, most: int = MAX_RECORDS) -> LabelledSet:
    """`truth.csv` (id, cluster_id) with the first of signups, listings and records.jsonl that fits; large ones sampled.

    `records.jsonl` is read where records have an author or artist, or nothing else is there. `labelled_pairs.csv`
    (id_a, id_b, match) says that only those pairs were judged. Raises ExportError when something is missing or broken.
    """
    try:
        with (folder / "truth.csv").open(encoding="utf-8-sig", newline="") as rows:
            entities = {row["id"]: row["cluster_id"] for row in csv.DictReader(rows)}
        path, fields = _file(folder)
        records = _lines(path)
        found = [(_text(record, fields), record["id"], entities[record["id"]]) for record in records]
        sides = _sides(folder, [record["id"] for record in records])
        judged = _judged(folder / "labelled_pairs.csv")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"--data {folder}: needs truth.csv (id,cluster_id) and signups.jsonl or listings.jsonl with those ids "
            f"({error!r})"
        ) from error
    kept = _sampled([entity for _, _, entity in found], seed, most)
    chosen = [row for row, (text, _, entity) in enumerate(found) if text and entity in kept]
    number = {found[row][1]: at for at, row in enumerate(chosen)}
    return LabelledSet(
        folder.name,
        fields,
        [found[row][0] for row in chosen],
        [found[row][2] for row in chosen],
        names.person if "name" in fields else titles.title,
        [sides[row] for row in chosen] if sides else (),
        [(number[a], number[b], match) for a, b, match in judged if a in number and b in number],
    )


def _file(folder: Path) -> tuple[Path, tuple[str, ...]]:
    whole = folder / "records.jsonl"
    if whole.is_file():
        known = {field for record in _lines(whole)[:50] for field in record}
        if known & set(_MAKERS):
            return whole, tuple(field for field in _FILES["records.jsonl"] if field in known)
    for name, fields in _FILES.items():
        if (folder / name).is_file():
            return folder / name, fields
    return folder / "listings.jsonl", ("title",)


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines_of(path) if line.strip()]


def _text(record: Mapping[str, object], fields: Sequence[str]) -> str:
    joiner = ", " if "name" in fields else " "
    return joiner.join(str(record[field]) for field in fields if record.get(field))


def _sides(folder: Path, ids: Sequence[object]) -> list[str]:
    path = folder / "records.jsonl"
    if not path.is_file():
        return []
    source = {record["id"]: str(record.get("source") or record.get("lang") or "") for record in _lines(path)}
    sides = [source.get(one, "") for one in ids]
    return sides if len(set(sides)) == 2 else []


def _judged(path: Path) -> list[tuple[str, str, bool]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as rows:
        return [(row["id_a"], row["id_b"], row["match"] == "1") for row in csv.DictReader(rows)]


def _sampled(entities: Sequence[str], seed: int, most: int) -> set[str]:
    sizes: dict[str, int] = {}
    for entity in entities:
        sizes[entity] = sizes.get(entity, 0) + 1
    order = list(sizes)
    Random(seed).shuffle(order)
    kept: set[str] = set()
    room = most
    for entity in order:
        if room > 0:
            kept.add(entity)
            room -= sizes[entity]
    return kept
