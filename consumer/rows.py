"""The rows of a batch of one scope: which are news, which only tell what is known, and what they do to an index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from consumer.ports import Known, VectorIndex
from consumer.records import Erasure, Position, Tick, Vector, Verdict

BLOCK_OFFSETS = 256
"""What came within a block is searched exactly, and goes into the graph at once: long ones make records wait, short ones cut batches."""


@dataclass(frozen=True, slots=True)
class Row:
    """A vectors message, read."""

    item: Vector | Erasure | Verdict | Tick
    position: Position

    @property
    def records(self) -> tuple[str, ...]:
        """The records it is about."""
        item = self.item
        if isinstance(item, Verdict):
            return (item.a, item.b)
        return () if isinstance(item, Tick) else (item.id,)


def fresh_rows(rows: Sequence[Row], known: Known, denied: list[Row] | None = None) -> list[Row]:
    """Rows that are news: not older than what the store or an earlier row has, and no erasure of the unknown.

    What people say is kept for the book to judge: it knows what was said before. Where `denied` is given, it takes the
    vectors of records that were erased before and came again; and an erasure of the unknown is news, to be remembered.
    """
    seen = {record_id: state.source for record_id, state in known.records.items()}
    present, gone = set(seen), set(known.erased.keys() - seen.keys())
    seen.update(known.erased)
    fresh = []
    for row in rows:
        item = row.item
        if isinstance(item, Verdict | Tick):
            fresh.append(row)
            continue
        if is_stale(item.source, seen.get(item.id)):
            continue
        if isinstance(item, Vector) and item.id in gone and denied is not None:
            denied.append(row)
            continue
        if isinstance(item, Erasure) and item.id not in present and denied is None:
            continue
        seen[item.id] = item.source
        if isinstance(item, Erasure):
            present.discard(item.id)
            gone.add(item.id)
        else:
            present.add(item.id)
            gone.discard(item.id)
        fresh.append(row)
    return fresh


def is_current(row: Row, known: Known) -> bool:
    """Whether an applied row tells what the store holds now; what was replaced or erased since is not indexed again.

    What people say is in no index.
    """
    if isinstance(row.item, Verdict | Tick):
        return False
    state = known.records.get(row.item.id)
    if isinstance(row.item, Erasure):
        return state is None
    return state is not None and state.source == row.item.source


def is_stale(source: Position, seen: Position | None) -> bool:
    """Whether an input message is one already seen, or older. Positions of different partitions have no order."""
    return (
        seen is not None
        and (seen.topic, seen.partition) == (source.topic, source.partition)
        and source.offset <= seen.offset
    )


def block_of(row: Row) -> int:
    """The number of the block that its offset is in."""
    return row.position.offset // BLOCK_OFFSETS


def blocks(rows: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
    """Rows of a partition by the number of the block that their offsets are in: the same however they are batched."""
    for number, block in groupby(rows, key=block_of):
        yield number, list(block)


def bring_up_to_date(index: VectorIndex, rows: Sequence[Row]) -> None:
    """Bring the index to where it is after the rows, and in the order it would be in had they come one by one."""
    for number, block in blocks(rows):
        index.turn_to(number)
        last: dict[str, Vector | Erasure] = {}
        for row in block:
            if isinstance(row.item, Verdict | Tick):
                continue
            last.pop(row.item.id, None)
            last[row.item.id] = row.item
        index.remove([item.id for item in last.values() if isinstance(item, Erasure)])
        added = [item for item in last.values() if isinstance(item, Vector)]
        if added:
            values = np.stack([item.values for item in added]).astype(np.float32)
            index.add([item.id for item in added], values, [item.mask for item in added])
