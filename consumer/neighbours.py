"""Pure search: the matches of each row of a batch, as if the rows had come one by one.

A row is compared with the index as it was before the batch and with the earlier rows of the batch, cut to k together.
What earlier rows replaced or erased is left out of what the index finds.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from consumer.beliefs import Beliefs
from consumer.comparison import Comparison
from consumer.fusion import Fusion
from consumer.layout import DECIMALS, Layout
from consumer.ports import Cosines, Hits, VectorIndex
from consumer.records import Bools, Erasure, Floats, Match, Vector
from consumer.rows import Row
from consumer.whitening import Whitening

_AT_ONCE = 64
"""Rows of a batch that are compared with those before them together: few products are made in vain."""


def match_rows(rows: Sequence[Row], index: VectorIndex, fusion: Fusion, beliefs: Beliefs, k: int) -> list[list[Match]]:
    """Matches of each row, best candidate first; what is no vector has none. The rows count in `beliefs`."""
    pairs = compare_rows(rows, index, fusion.layout, beliefs.whitening, k)
    matches: list[list[Match]] = [[] for _ in rows]
    for row, match in zip(pairs.rows.tolist(), fusion.judge(pairs, beliefs), strict=True):
        if match is not None:
            matches[row].append(match)
    return matches


def compare_rows(rows: Sequence[Row], index: VectorIndex, layout: Layout, whitening: Whitening, k: int) -> Comparison:
    """Each row beside up to k candidates, scored exactly over the modalities both records have."""
    numbers = [number for number, row in enumerate(rows) if isinstance(row.item, Vector)]
    vectors = [row.item for row in rows if isinstance(row.item, Vector)]
    if not vectors:
        return Comparison(
            np.zeros(0, np.int64), [], np.zeros((0, len(layout.names)), np.float32), np.zeros((0, 2), np.int64)
        )
    candidates = _candidates(rows, vectors, index, partial(layout.cosines, whitening=whitening), k)
    left = np.repeat(np.arange(len(vectors)), [len(hits.ids) for hits in candidates])
    own = np.asarray([v.mask for v in vectors], np.int64)[left]
    theirs = np.asarray([mask for hits in candidates for mask in hits.masks], np.int64)
    return Comparison(
        rows=np.asarray(numbers, np.int64)[left],
        ids=[record_id for hits in candidates for record_id in hits.ids],
        similarities=np.concatenate([hits.cosines for hits in candidates]),
        masks=np.stack([own, theirs], axis=1),
    )


def _candidates(
    rows: Sequence[Row], vectors: Sequence[Vector], index: VectorIndex, cosines: Cosines, k: int
) -> list[Hits]:
    """Per vector row, up to k candidates by inner product, the older first on ties."""
    queries = np.stack([v.values for v in vectors]).astype(np.float32)
    gone, there = _superseded(rows, len(vectors), index)
    within = np.where(there, _products(queries), -np.inf)
    candidates = [
        # of what is superseded, something else takes the place
        hits.take([n for n, r in enumerate(hits.ids) if gone.get(r, len(vectors)) > i][:k]) if gone else hits
        for i, hits in enumerate(index.search(queries, k, cosines, len(gone)))
    ]
    least = np.asarray([hits.scores[-1] if len(hits.ids) == k else -np.inf for hits in candidates], np.float32)
    better = within > least[:, None]
    joined = np.flatnonzero(better.any(axis=1))
    best = [_best(within[i], np.flatnonzero(better[i]), k) for i in joined]
    if best:
        alike = cosines(queries[np.concatenate(best)], np.repeat(queries[joined], [len(b) for b in best], axis=0))
    end = 0
    for i, chosen in zip(joined.tolist(), best, strict=True):
        earlier = [vectors[j] for j in chosen.tolist()]
        start, end = end, end + len(chosen)
        newer = Hits([v.id for v in earlier], within[i, chosen], alike[start:end], [v.mask for v in earlier])
        candidates[i] = candidates[i].merged(newer, k)
    return candidates


def _best(scores: Floats, places: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.intp]:
    """The k of these places with the highest scores, the earlier first on ties."""
    return places[np.argsort(-scores[places], kind="stable")[:k]]


def _products(vectors: Floats) -> Floats:
    """Of each vector with itself and those before it; zero beyond. float32 [n, n]."""
    exact = vectors.astype(np.float64)  # of float16 numbers, so these products do not depend on the shape of the batch
    products = np.zeros((len(vectors), len(vectors)), np.float32)
    for start in range(0, len(vectors), _AT_ONCE):
        stop = start + _AT_ONCE
        products[start:stop, :stop] = np.round(exact[start:stop] @ exact[:stop].T, DECIMALS)
    return products


def _superseded(rows: Sequence[Row], count: int, index: VectorIndex) -> tuple[dict[str, int], Bools]:
    """What earlier rows of the batch replaced or erased.

    Record → the number of the vector from which on what the index has of it is out of date; and, bool [count, count],
    whether the vector of each earlier row (column) is still there when a row (line) comes.
    """
    gone: dict[str, int] = {}
    there = np.tri(count, k=-1, dtype=bool)
    latest: dict[str, int] = {}
    number = 0
    for item in (row.item for row in rows):
        if not isinstance(item, Vector | Erasure):
            continue
        if item.id in index:
            gone.setdefault(item.id, number)
        if (previous := latest.pop(item.id, None)) is not None:
            there[number:, previous] = False
        if isinstance(item, Vector):
            latest[item.id] = number
            number += 1
    return gone, there
