"""The indexes of a partition that another matcher owns, kept up with it.

The rule is that of a replay: a row is indexed if the store still holds that version of its record. Only rows before the
group's committed offset count: all that a row leads to is done then, so a matcher that is handed the indexes and reads on
from their offset passes over nothing, be it a word, a dead letter or an erasure of a record that no index has.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from consumer.errors import RejectedError
from consumer.ports import ClusterStore, Snapshot, VectorIndex
from consumer.records import Erasure, Message, Vector
from consumer.routing import route
from consumer.rows import Row, bring_up_to_date, is_current
from consumer.vectors import unpack

_EVERYTHING = 2**63 - 1


@dataclass(slots=True)
class Kept:
    """What is kept of one partition."""

    offset: int
    """Everything before it is in the indexes."""
    indexes: dict[str, VectorIndex]
    """By scope."""
    applied: dict[str, int]
    """By scope: the offset that the store has to have applied for the index to be true."""
    seen: float
    """Time, in seconds, when it last held all that was decided."""
    ahead: deque[Message] = field(default_factory=deque)
    """Read, and not in the indexes yet."""
    ready: bool = False
    """It has once held all that was decided."""
    moved: int = 0
    """Messages since it was saved."""
    erased: float | None = None
    """Time of the first erasure since then."""

    @property
    def read_offset(self) -> int:
        """Where reading goes on."""
        return self.ahead[-1].position.offset + 1 if self.ahead else self.offset

    def fits(self, applied: Mapping[str, int]) -> bool:
        """Whether a store that has applied so much has all that the indexes tell; one that lost writes has not."""
        return all(applied.get(scope, -1) >= needed for scope, needed in self.applied.items())


@dataclass(frozen=True, slots=True)
class Advance:
    """The next messages, as rows that may go into the indexes."""

    messages: Sequence[Message]
    rows: Mapping[str, Sequence[Row]]
    """By scope: what the store still holds."""
    applied: Mapping[str, int]
    """By scope: the newest row that the store has applied to it for certain."""


def kept_from(snapshot: Snapshot | None, applied: Mapping[str, int], now: float) -> Kept:
    """Begin with a snapshot, found while the store had applied so much; with nothing where there is none."""
    if snapshot is None:
        return Kept(0, {}, {}, now)
    least = {scope: min(applied.get(scope, -1), snapshot.offset - 1) for scope in snapshot.indexes}
    return Kept(snapshot.offset, dict(snapshot.indexes), least, now)


def look(kept: Kept, decided: int, limit: int, store: ClusterStore, read: Callable[[Message], Row | None]) -> Advance:
    """The next messages before `decided`, up to `limit` of them. Changes nothing; raises StoreError."""
    batch = list(takewhile(lambda m: m.position.offset < decided, islice(kept.ahead, limit)))
    unpacked = [row for row in map(read, batch) if row is not None]
    # to a replay nothing is live: where the store alone has a record, its erasure changes no index
    routed = route(unpacked, {scope: (index, _EVERYTHING) for scope, index in kept.indexes.items()}, store)
    rows: dict[str, Sequence[Row]] = {}
    applied: dict[str, int] = {}
    for scope, theirs in routed.items():
        known = store.known(scope, list({record_id for row in theirs for record_id in row.records}))
        current = {row.position: row for row in theirs if is_current(row, known)}
        rows[scope] = list(current.values())
        # an erasure of what no index has may have passed the scope by: its owner had other batches
        certain = [r for r in theirs if isinstance(r.item, Vector) or (r.position in current and _has(kept, scope, r))]
        applied[scope] = max((row.position.offset for row in certain), default=-1)
    return Advance(batch, rows, applied)


def _has(kept: Kept, scope: str, row: Row) -> bool:
    return scope in kept.indexes and any(record_id in kept.indexes[scope] for record_id in row.records)


def advance(kept: Kept, step: Advance, new_index: Callable[[], VectorIndex], now: float) -> None:
    """Bring the indexes to where they are after these messages, which are the next ones."""
    if kept.erased is None and any(isinstance(row.item, Erasure) for rows in step.rows.values() for row in rows):
        kept.erased = now
    for scope, rows in step.rows.items():
        if rows and scope not in kept.indexes:
            kept.indexes[scope] = new_index()
        if rows:
            bring_up_to_date(kept.indexes[scope], rows)
        kept.applied[scope] = max(kept.applied.get(scope, -1), step.applied[scope])
    for _ in step.messages:
        kept.offset = kept.ahead.popleft().position.offset + 1
    kept.moved += len(step.messages)


def row_reader(fingerprint: str, dim: int) -> Callable[[Message], Row | None]:
    """A reader of vectors messages; None for what is none of ours, which its owner has rejected."""

    def read(message: Message) -> Row | None:
        try:
            return Row(unpack(message, fingerprint, dim), message.position)
        except RejectedError:
            return None

    return read
