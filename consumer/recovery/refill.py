"""Writes the contents of a scope into an empty store, in updates of a bearable size."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from consumer.ports import ClusterStore
from consumer.records import (
    Cluster,
    Evidence,
    OutboxEntry,
    Position,
    RecordState,
    Retired,
    ScopeUpdate,
    Verdict,
)
from consumer.recovery.contents import Contents

_T = TypeVar("_T")
_AT_ONCE = 500
"""Of anything, in one update."""


def refill(
    store: ClusterStore,
    scope: str,
    partition: int,
    epoch: int,
    offset: int,
    contents: Contents,
    outbox: Sequence[OutboxEntry] = (),
) -> None:
    """Write everything, after which `offset`, 0 or more, is the last that is applied. The scope is claimed, and empty.

    Raises StoreError, and FencedError when a matcher took the partition meanwhile; the scope is then half written.
    """
    edges = [edge for near in contents.edges.values() for other, edge in near.items() if other == edge.b]
    parts = contents.records, contents.assignments, contents.clusters, contents.erased, contents.verdicts
    longest = max(len(part) for part in (*parts, edges))
    # each update needs an offset of its own, of those that were decided
    count = min(offset + 1, longest // _AT_ONCE + 1)
    shares = [*(map(dict, _shares(part.items(), count)) for part in parts), _shares(edges, count)]
    for i, share in enumerate(zip(*shares, strict=True)):
        update = _update(*share)
        if i == count - 1:
            update = _last(update, contents, outbox)
        store.apply(scope, partition, epoch, offset - count + 1 + i, update)


def _update(
    records: Mapping[str, RecordState],
    assignments: Mapping[str, str],
    clusters: Mapping[str, Cluster | Retired],
    erased: Mapping[str, Position],
    verdicts: Mapping[str, Mapping[str, Verdict]],
    edges: Sequence[Evidence],
) -> ScopeUpdate:
    return ScopeUpdate(
        records=records,
        assignments=assignments,
        clusters=clusters,
        members_put={cid: list(c.members) for cid, c in clusters.items() if isinstance(c, Cluster)},
        members_dropped={},
        edges=edges,
        edges_dropped=(),
        erased=erased,
        outbox=(),
        verdicts=verdicts,
    )


def _last(update: ScopeUpdate, contents: Contents, outbox: Sequence[OutboxEntry]) -> ScopeUpdate:
    """With what is small, or orders itself."""
    return replace(
        update, outbox=outbox, redo_put=contents.redo, beliefs=contents.beliefs, whitening=contents.whitening
    )


def _shares(values: Collection[_T], count: int) -> Iterator[list[_T]]:
    """Values in so many parts, in their order, each looked at once."""
    left = iter(values)
    for i in range(count):
        yield list(islice(left, len(values) * (i + 1) // count - len(values) * i // count))
