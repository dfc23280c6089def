"""What the core asks of the world. Each port has a real adapter and an in-memory one under `consumer/adapters/`.

Adapters raise only errors of `consumer.errors`; no vendor exception passes a port.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from consumer.errors import LostWritesError, SettingsError
from consumer.records import (
    Cluster,
    Embeddings,
    Evidence,
    FieldValue,
    Floats,
    Message,
    OutboxEntry,
    Outgoing,
    Position,
    RecordState,
    Retired,
    ScopeUpdate,
    Verdict,
)


class Source(Protocol):
    """A group-managed consumer of one or more topics."""

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Message]:
        """Up to `max_records` messages; empty after `timeout_seconds` with none. Raises BrokerError."""

    def commit(self, positions: Sequence[Position]) -> None:
        """Record that everything up to and including each position is done: soon, and before a partition goes. Raises BrokerError."""

    def lag(self) -> Mapping[tuple[str, int], int]:
        """Messages waiting, per assigned (topic, partition)."""

    def high_watermark(self, topic: str, partition: int) -> int:
        """Offset after the last message. Raises BrokerError."""

    def position(self, topic: str, partition: int) -> int | None:
        """Next offset to be delivered, also behind what is never delivered; None before the first fetch."""

    def committed(self, topic: str, partition: int) -> int:
        """Offset after the last that the group has committed, 0 for none. Raises BrokerError."""

    def keep_alive(self) -> None:
        """Stay in the group without taking messages."""

    def gone(self) -> Collection[tuple[str, int]]:
        """The partitions that went since this was last asked, perhaps to come back.

        What an earlier call of `poll` gave of them is somebody else's now.
        """

    @property
    def trouble(self) -> str:
        """Why nothing comes, while no broker answers; else empty."""

    def close(self) -> None: ...


class Tail(Protocol):
    """Reads a topic beside the group that owns it."""

    def partitions(self) -> Sequence[int]:
        """The topic's. Raises BrokerError."""

    def read(self, starts: Mapping[int, int], max_records: int, timeout_seconds: float) -> Sequence[Message]:
        """Up to `max_records` messages of the partitions in `starts`, from those offsets on; waits for a first one.

        A start that is where the last read of that partition ended costs nothing. Raises BrokerError.
        """

    def behind(self, partition: int) -> int:
        """Messages between the last read and the end; of a partition that was never read, 1."""

    def committed(self) -> Mapping[int, int]:
        """Partition → offset before which the group has done everything, where it has committed one. Raises BrokerError."""


class Publisher(Protocol):
    """An idempotent producer."""

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Queue messages; order is kept per partition. Raises BrokerError when one can never be delivered."""

    def flush(self) -> None:
        """Return once every queued message is acknowledged by the broker. Raises BrokerError if one was not."""

    def partitions(self, topic: str) -> int:
        """Number of partitions of `topic`. Raises BrokerError when it does not exist."""

    def close(self) -> None: ...


class Delivery(Protocol):
    """Hands a batch's outcome to the broker together with the position of its input."""

    def send(
        self, messages: Sequence[Outgoing], done: Sequence[Position], confirm: Callable[[], None] = lambda: None
    ) -> None:
        """Send the messages and that `done` is done on their way. Nothing else may be; `wait` tells how it ended.

        `confirm` is called before it is final, perhaps in another thread, and stops it by raising. Raises as `wait` does.
        """

    def wait(self) -> None:
        """Return once the broker has all that was sent, the messages in order per partition; at once where nothing is on its way.

        May be called while the source calls back. Raises what `confirm` raised, or BrokerError: BrokerAwayError where a later
        attempt may go well. What became of the messages is then not known.
        """


class Encoder(Protocol):
    """One modality: some fields of a record become a unit vector."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that changes the numbers: model bytes, options, keys."""

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """Encode n rows: the present fields of a record, of which the encoder reads its own (perhaps none is there).

        A row's vector does not depend on the other rows. Bad values never raise here: decoding rejected them.
        """


@runtime_checkable
class Model(Encoder, Protocol):
    """An encoder that runs a model on an execution provider."""

    @property
    def provider(self) -> str:
        """The one in use, by its name in the runtime."""

    @property
    def passed_over(self) -> Sequence[str]:
        """`<provider>: <why not>` of each that was preferred to the one in use."""

    def warm_up(self) -> None:
        """Run at the shapes that will come, so that no record waits for what a first run makes. Raises ModelError."""


@runtime_checkable
class Remembering(Protocol):
    """What keeps vectors of past records, to save time."""

    def forget(self) -> None:
        """Drop them, and overwrite their numbers."""


Cosines = Callable[[Floats, Floats], Floats]
"""float32 [..., dim] with another → [..., modalities]; how alike two vectors are, modality by modality."""


def whole(left: Floats, right: Floats) -> Floats:
    """Vectors as one modality: their inner products, [..., 1]."""
    return np.asarray(np.einsum("...d,...d->...", left, right)[..., None], np.float32)


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found for one query: n records, best first, the older first on ties."""

    ids: Sequence[str]
    scores: Floats
    """float32 [n], inner products rounded to `layout.DECIMALS`, so that a tie is a tie whatever the shape of the batch."""
    cosines: Floats
    """float32 [n, modalities], as `Cosines` gave them."""
    masks: Sequence[int]

    def take(self, places: Sequence[int]) -> "Hits":
        """Some of them, in order."""
        ids, masks = [self.ids[n] for n in places], [self.masks[n] for n in places]
        return Hits(ids, self.scores[places], self.cosines[places], masks)

    def merged(self, newer: "Hits", k: int) -> "Hits":
        """The best k of these, which are fewer already, and of others that are all newer."""
        if not newer.ids or (len(self.ids) == k and newer.scores[0] <= self.scores[-1]):
            return self
        scores = np.concatenate([self.scores, newer.scores])
        cosines = np.concatenate([self.cosines, newer.cosines])
        both = Hits([*self.ids, *newer.ids], scores, cosines, [*self.masks, *newer.masks])
        return both.take(np.argsort(-scores, kind="stable")[:k].tolist())


@dataclass(frozen=True, slots=True)
class Saving:
    """What is left to do of writing an index as it is now. Dropped, it is given up."""

    frozen: Sequence[Callable[[], None]] = ()
    """Before the index changes, or in a copy of the process, where memory stays as it is. Raise OSError."""
    beside: Sequence[Callable[[], None]] = ()
    """Then, while the index changes, on any thread. Raise OSError."""

    def finish(self) -> None:
        """Do it all, before the index changes."""
        for call in (*self.frozen, *self.beside):
            call()


class VectorIndex(Protocol):
    """The vectors of one scope, searched by inner product. Ids are unique; rows are what `Vector.values` holds.

    Rows come in blocks (`rows.blocks`). What a search finds depends on the rows before it and on no batches of them.
    """

    def __len__(self) -> int: ...

    def __contains__(self, record_id: str) -> bool: ...

    def turn_to(self, block: int) -> None:
        """Before the first row of another block: a time to rebuild what is dear to change row by row."""

    def last_search(self) -> None:
        """Before the last search in a block, where that is known: what the next turn needs may begin right after it."""

    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> Sequence[Hits]:
        """For each row of float32 [n, dim], up to k hits, and up to `spare` more out of the same candidates."""

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        """Add n new ids. An id that is there already is replaced."""

    def remove(self, ids: Sequence[str]) -> None:
        """Forget ids and their numbers; ids that are not there are ignored."""

    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Sequence[int]]:
        """float32 [n, dim] and masks of ids that must be there (KeyError otherwise)."""

    def newest(self, count: int) -> Floats:
        """The vectors that came last, no more than `count`, float32 [n, dim]."""

    def save(self, directory: Path) -> Saving:
        """Begin to write everything into an existing empty directory. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The indexes of a partition as they were once everything before `offset` had been processed."""

    offset: int
    indexes: Mapping[str, VectorIndex]
    """By scope."""


class SnapshotStore(Protocol):
    """Keeps the newest snapshot of each partition of the vectors topic."""

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        """Write a snapshot whole or not at all. Per scope: its index and the last offset applied to the store."""

    def unsaved(self) -> Collection[int]:
        """Partitions for which another snapshot is due: one could not be written, or what is in place holds an erased record.

        Each is told once.
        """

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        """The newest snapshot that can be trusted, else None, saying why in the log.

        One of other models, damaged, too old (tombstones since may be compacted away), or ahead of what the store has
        applied per scope (the store went back in time) is not used.
        """


@dataclass(slots=True)
class Neighbourhood:
    """The part of a scope that one batch may touch, as the store holds it."""

    records: dict[str, RecordState] = field(default_factory=dict)
    assignments: dict[str, str] = field(default_factory=dict)
    erased: dict[str, Position] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    edges: dict[str, dict[str, Evidence]] = field(default_factory=dict)
    """Record → other record → edge, for the records whose edges were asked for."""
    free: set[str] = field(default_factory=set)
    """Cluster ids among those asked for that were never used; no id is used twice."""
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    """Record → other record → what a person said of the two, for those of the records of `edges` that have any."""
    redo: list[str] = field(default_factory=list)
    """The beginning of the redo queue, as far as it was asked for."""
    waiting: int = 0
    """Records on it, where it was asked for."""


@dataclass(frozen=True, slots=True)
class Known:
    """Records the store has, and those it was told to forget not long ago."""

    records: Mapping[str, RecordState]
    erased: Mapping[str, Position]


def lost_writes(scope: str, applied: int, after: int) -> LostWritesError:
    """The error for a scope whose last applied offset is not what it was."""
    return LostWritesError(
        f"the store has applied scope {scope!r} up to offset {applied}, and had said {after}: it lost writes, as after a "
        "failover to a replica that lagged. Start this process again: it goes on from what the store holds"
    )


def moved_scope(scope: str, partition: int) -> SettingsError:
    """The error for a scope that turns up in another partition than it has lived in."""
    return SettingsError(
        f"scope {scope} lived in partition {partition} of the vectors topic and now comes in another: the number of "
        "partitions was changed. Set it back, or use a new topic and another redis.prefix."
    )


class ClusterStore(Protocol):
    """Assignments, clusters, evidence and the outbox. Every write is fenced by an epoch and atomic for its scope.

    All calls raise StoreError when the store is away or refuses, FencedError when `epoch` is not the newest.
    """

    def take_epoch(self, partition: int) -> int:
        """A number larger than any given out for this partition of the vectors topic."""

    def epochs(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The newest number given out for each partition, 0 where none was."""

    def scopes(self, partition: int) -> Sequence[str]:
        """Scopes ever claimed in this partition."""

    def applied(self, scope: str, partition: int) -> int:
        """Last offset of the partition that was applied to the scope, -1 for none; claims nothing."""

    def claim(self, scope: str, partition: int, epoch: int) -> int:
        """Make `epoch` the only one that may write the scope; returns the last applied offset, -1 for none.

        Raises SettingsError (`moved_scope`) when the scope was applied from another partition before.
        """

    def known(self, scope: str, records: Sequence[str]) -> Known:
        """What the store knows of records themselves: their state, or that they were erased of late."""

    def read(
        self,
        scope: str,
        records: Sequence[str],
        cluster_ids: Sequence[str] = (),
        *,
        edges: bool = False,
        beside: Sequence[str] = (),
        redo: int = 0,
    ) -> Neighbourhood:
        """The named records, their clusters, whole, and erasure marks; which of `cluster_ids` were never used.

        With `edges`, also the edges and verdicts of the named records and of every member of their clusters. Of `beside`,
        records other than those named, their states alone; of the redo queue the first `redo`.
        """

    def beliefs(self, scope: str) -> tuple[bytes | None, bytes | None]:
        """What the last updates that said anything of it left in `ScopeUpdate.beliefs`, and in `whitening`."""

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        """Write `update`, made from the vectors messages up to `offset`. False when that was applied before.

        Raises LostWritesError when the last applied offset is not `after`, where that is given.
        """

    def outbox(self, scope: str) -> Sequence[tuple[int, OutboxEntry]]:
        """Entries not yet acknowledged, with their sequence numbers, oldest first."""

    def acknowledge(self, scope: str, epoch: int, sequence: int) -> None:
        """Forget outbox entries up to and including `sequence`."""

    def clusters(self, scope: str, cluster_ids: Sequence[str]) -> Mapping[str, Cluster | Retired]:
        """The present state of clusters; unknown ids are left out."""

    def assignment(self, scope: str, record_id: str) -> str | None:
        """Cluster of a record, or None."""
