"""Writes the contents of a scope into an empty store, in updates of a bearable size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from consumer.ports import ClusterStore
from consumer.records import Cluster, Evidence, OutboxEntry, ScopeUpdate
from consumer.recovery.contents import Contents

_T = TypeVar("_T")
_AT_ONCE = 500
"""Records, or clusters, or edges, in one update."""


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
    longest = max(len(contents.records), len(contents.clusters), len(edges))
    # each update needs an offset of its own, of those that were decided
    count = min(offset + 1, longest // _AT_ONCE + 1)
    for i in range(count):
        update = _part(contents, edges, i, count)
        if i == count - 1:
            update = _last(update, contents, outbox)
        store.apply(scope, partition, epoch, offset - count + 1 + i, update)


def _part(contents: Contents, edges: Sequence[Evidence], i: int, count: int) -> ScopeUpdate:
    clusters = _slice(contents.clusters, i, count)
    return ScopeUpdate(
        records=_slice(contents.records, i, count),
        assignments=_slice(contents.assignments, i, count),
        clusters=clusters,
        members_put={cid: list(c.members) for cid, c in clusters.items() if isinstance(c, Cluster)},
        members_dropped={},
        edges=edges[i::count],
        edges_dropped=(),
        erased=_slice(contents.erased, i, count),
        outbox=(),
        verdicts=_slice(contents.verdicts, i, count),
    )


def _last(update: ScopeUpdate, contents: Contents, outbox: Sequence[OutboxEntry]) -> ScopeUpdate:
    """With what is small, or orders itself."""
    return replace(
        update, outbox=outbox, redo_put=contents.redo, beliefs=contents.beliefs, whitening=contents.whitening
    )


def _slice(values: Mapping[str, _T], i: int, count: int) -> dict[str, _T]:
    return {name: values[name] for name in list(values)[i::count]}
