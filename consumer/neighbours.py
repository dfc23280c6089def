"""Pure search: the matches of each row of a batch, as if the rows had come one by one.

A row is compared with the index as it was before the batch and with the earlier rows of the batch, cut to k together.
What earlier rows replaced or erased is left out of what the index finds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.beliefs import Beliefs
from consumer.comparison import Comparison
from consumer.fusion import DECIMALS, Fusion, Layout
from consumer.ports import VectorIndex
from consumer.records import Erasure, Floats, Match, Vector
from consumer.rows import Row


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A record to be scored exactly: in the index by id, or an earlier row of the batch by number."""

    id: str
    row: int | None


def match_rows(rows: Sequence[Row], index: VectorIndex, fusion: Fusion, beliefs: Beliefs, k: int) -> list[list[Match]]:
    """Matches of each row, best candidate first; what is no vector has none. The rows count in `beliefs`."""
    pairs = compare_rows(rows, index, fusion.layout, k)
    matches: list[list[Match]] = [[] for _ in rows]
    for row, match in zip(pairs.rows.tolist(), fusion.judge(pairs, beliefs), strict=True):
        if match is not None:
            matches[row].append(match)
    return matches


def compare_rows(rows: Sequence[Row], index: VectorIndex, layout: Layout, k: int) -> Comparison:
    """Each row beside up to k candidates, scored exactly over the modalities both records have."""
    vectors = [row.item for row in rows if isinstance(row.item, Vector)]
    if not vectors:
        return Comparison(
            np.zeros(0, np.int64), [], np.zeros((0, len(layout.names)), np.float32), np.zeros((0, 2), np.int64)
        )
    queries = np.stack([v.values for v in vectors]).astype(np.float32)
    candidates = list(_candidates(rows, queries, index, k))
    stored_ids = sorted({c.id for found in candidates for c in found if c.row is None})
    stored, stored_masks = index.vectors(stored_ids)
    place = {record_id: i + len(vectors) for i, record_id in enumerate(stored_ids)}
    known = np.concatenate([queries, stored])
    masks = np.asarray([*(v.mask for v in vectors), *stored_masks], np.int64)
    left = [i for i, found in enumerate(candidates) for _ in found]
    right = [place[c.id] if c.row is None else c.row for found in candidates for c in found]
    numbers = [number for number, row in enumerate(rows) if isinstance(row.item, Vector)]
    return Comparison(
        rows=np.asarray(numbers, np.int64)[left],
        ids=[c.id for found in candidates for c in found],
        similarities=layout.similarities(known[left], known[right]),
        masks=np.stack([masks[left], masks[right]], axis=1),
    )


def _candidates(rows: Sequence[Row], queries: Floats, index: VectorIndex, k: int) -> Iterator[list[_Candidate]]:
    """Per vector row, up to k candidates by inner product; the older first on ties."""
    superseded = sum(r in index for r in {row.item.id for row in rows if isinstance(row.item, Vector | Erasure)})
    found, found_scores = index.search(queries, k + superseded)
    exact = queries.astype(np.float64)  # of float16 numbers, so these products do not depend on the shape of the batch
    within = np.round(exact @ exact.T, DECIMALS).astype(np.float32)
    latest: dict[str, int] = {}
    alive = np.zeros(len(queries), bool)
    ids: list[str] = []
    moved: set[str] = set()
    for row in rows:
        item = row.item
        if not isinstance(item, Vector | Erasure):
            continue
        moved.add(item.id)
        previous = latest.pop(item.id, None)
        if previous is not None:
            alive[previous] = False
        if isinstance(item, Erasure):
            continue
        i = len(ids)
        old = [
            (-float(s), _Candidate(r, None)) for r, s in zip(found[i], found_scores[i], strict=True) if r not in moved
        ]
        # the older first on ties: what the index holds is older than the batch, and each list is oldest first
        cutoff = -old[k - 1][0] if len(old) >= k else -np.inf
        earlier = np.flatnonzero(alive[:i] & (within[i, :i] > cutoff))
        if len(earlier):
            best = earlier[np.argsort(-within[i, earlier], kind="stable")[:k]]
            old += [(-float(within[i, j]), _Candidate(ids[j], j)) for j in best.tolist()]
            old.sort(key=lambda pair: pair[0])
        yield [candidate for _, candidate in old[:k]]
        latest[item.id] = i
        alive[i] = True
        ids.append(item.id)
