"""Which scopes a row of the vectors topic concerns."""

from collections.abc import Iterable, Mapping, Sequence

from consumer.ports import ClusterStore, VectorIndex
from consumer.records import Erasure, Vector
from consumer.rows import Row


def route(
    rows: Sequence[Row], scopes: Mapping[str, tuple[VectorIndex, int]], store: ClusterStore
) -> dict[str, list[Row]]:
    """The rows of each scope. An erasure goes to the scopes that have the record; the rest say where they belong.

    `scopes`: index and last applied offset of each; those that a row names must be among them.
    """
    holders = _holders([row for row in rows if isinstance(row.item, Erasure)], scopes, store)
    routed: dict[str, list[Row]] = {}
    for row in rows:
        item = row.item
        homes: Iterable[str] = holders[item.id] if isinstance(item, Erasure) else [item.scope]
        for home in homes:
            routed.setdefault(home, []).append(row)
            if isinstance(item, Vector) and item.id in holders:
                holders[item.id].add(home)
    return routed


def _holders(
    erasures: Sequence[Row], scopes: Mapping[str, tuple[VectorIndex, int]], store: ClusterStore
) -> dict[str, set[str]]:
    """Erased record → scopes that have it: in their index, or in the store alone.

    A tombstone lets compaction take the vector away, so a replay may meet the tombstone only.
    """
    holders: dict[str, set[str]] = {record_id: set() for row in erasures for record_id in row.records}
    for scope, (index, applied) in scopes.items() if erasures else ():
        indexed = [record_id for record_id in holders if record_id in index]
        live = {record_id for row in erasures if row.position.offset > applied for record_id in row.records}
        strangers = sorted(live.difference(indexed))
        stored = store.known(scope, strangers).records if strangers else {}
        for record_id in (*indexed, *stored):
            holders[record_id].add(scope)
    return holders
