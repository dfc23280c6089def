"""Where a clustering is wrong: the pairs that a person should look at first."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from consumer.pairs import PairTable
from consumer.records import Bools, Doubles

SHOWN = 10
"""Of each kind."""


@dataclass(frozen=True, slots=True)
class WrongPair:
    """Two records that were put together wrongly, or kept apart wrongly."""

    kind: Literal["merged", "missed"]
    a: str
    b: str
    score: float | None
    """Fused score; None where the search did not bring them together."""
    similarities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FalseCluster:
    """A found cluster that holds two that differ, by its labelled records; both 0 where there is none."""

    records: int
    entities: int
    """True clusters that they are of."""


def largest_false(truth: Mapping[str, str], found: Mapping[str, str]) -> FalseCluster:
    """The one with the most labelled records, then with the most entities."""
    owners: dict[str, Counter[str]] = {}
    for record, owner in truth.items():
        if record in found:
            owners.setdefault(found[record], Counter())[owner] += 1
    mixed = ((held.total(), len(held)) for held in owners.values() if len(held) > 1)
    return FalseCluster(*max(mixed, default=(0, 0)))


def wrong_pairs(
    table: PairTable,
    scores: Doubles,
    same: Bools,
    truth: Mapping[str, str],
    found: Mapping[str, str],
    names: Sequence[str],
    sources: Mapping[str, object] | None = None,
) -> list[WrongPair]:
    """The surest of the wrong merges, and the surest of the missed pairs, then those that no search found."""
    together = np.array(
        [
            (cid := found.get(table.ids[a])) is not None and cid == found.get(table.ids[b])
            for a, b in zip(table.later.tolist(), table.earlier.tolist(), strict=True)
        ],
        bool,
    )

    def described(kind: Literal["merged", "missed"], chosen: Bools) -> list[WrongPair]:
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(-scores[rows], kind="stable")[:SHOWN]]
        return [_wrong_pair(kind, table, int(row), float(scores[row]), names) for row in rows]

    return [
        *described("merged", together & ~same),
        *described("missed", same & ~together),
        *_never_met(table, same, truth, found, sources),
    ]


def _wrong_pair(
    kind: Literal["merged", "missed"], table: PairTable, row: int, score: float, names: Sequence[str]
) -> WrongPair:
    shared = [(name, i) for i, name in enumerate(names) if table.pairs.shared[row] >> i & 1]
    cosines = {name: round(float(table.pairs.similarities[row, i]), 4) for name, i in shared}
    a, b = sorted((table.ids[table.later[row]], table.ids[table.earlier[row]]))
    return WrongPair(kind, a, b, round(score, 4), cosines)


def _never_met(
    table: PairTable,
    same: Bools,
    truth: Mapping[str, str],
    found: Mapping[str, str],
    sources: Mapping[str, object] | None,
) -> list[WrongPair]:
    """True duplicates, of different sources where these are given, that no search found and that ended apart: some, by id."""
    met = {table.ids[n] for n in (*table.later[same].tolist(), *table.earlier[same].tolist())}
    clusters: dict[str, list[str]] = {}
    for record, owner in truth.items():
        clusters.setdefault(owner, []).append(record)

    def other(record: str) -> str | None:
        """A true duplicate of it."""
        alike = (r for r in clusters[truth[record]] if r != record)
        return next((r for r in alike if sources is None or sources[r] != sources[record]), None)

    lost = (sorted((record, b)) for record in truth if record not in met and (b := other(record)) is not None)
    unique = dict.fromkeys((a, b) for a, b in lost if found.get(a, a) != found.get(b, b))
    return [WrongPair("missed", a, b, None, {}) for a, b in itertools.islice(unique, SHOWN)]
