"""Which scopes a row of the vectors topic concerns."""

from collections.abc import Iterable, Mapping, Sequence

from consumer.ports import ClusterStore, VectorIndex
from consumer.records import Erasure, Vector
from consumer.rows import Row


def route(
    rows: Sequence[Row],
    scopes: Mapping[str, tuple[VectorIndex, int]],
    store: ClusterStore,
    *,
    everywhere: bool = False,
) -> dict[str, list[Row]]:
    """The rows of each scope. An erasure goes to the scopes that have the record; the rest say where they belong.

    `scopes`: index and last applied offset of each; those that a row names must be among them. With `everywhere`, an erasure
    goes to all scopes that there are before it, to be remembered there.
    """
    holders = _holders([row for row in rows if isinstance(row.item, Erasure)], scopes, store)
    routed: dict[str, list[Row]] = {}
    there = dict.fromkeys(scope for scope, (_, applied) in scopes.items() if applied >= 0)
    for row in rows:
        item = row.item
        if isinstance(item, Erasure):
            homes: Iterable[str] = list(there) if everywhere else holders[item.id]
        else:
            homes = [item.scope]
            there[item.scope] = None
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
