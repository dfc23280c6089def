"""The vectors topic replayed through the matcher itself, without events: what one partition amounts to at an offset."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from consumer.errors import RejectedError
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.ports import ClusterStore, Snapshot, SnapshotStore, VectorIndex
from consumer.records import Erasure, Message, Vector
from consumer.recovery.contents import Contents, Inventory
from consumer.vectors import unpack

_BATCH = 256
MakeStage = Callable[[ClusterStore, SnapshotStore], MatchStage]
"""The stage of a deployment, over a store and a keeper of snapshots."""
Indexes = Mapping[str, tuple[VectorIndex, int]]
"""Scope → its index and the last offset in it."""


class WholeStore(ClusterStore, Inventory, Protocol):
    """A cluster store that can be read whole; one in memory, here."""


class HeldIndexes:
    """A keeper of snapshots that hands the indexes of a stage over as they are, once. Implements `SnapshotStore`."""

    def __init__(self) -> None:
        self.indexes: Indexes = {}

    def save(self, partition: int, fingerprint: str, offset: int, scopes: Indexes) -> None:
        del partition, fingerprint, offset
        self.indexes = dict(scopes)

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        del partition, fingerprint, applied
        return None

    def unsaved(self) -> Collection[int]:
        return ()


@dataclass(frozen=True, slots=True)
class Models:
    """What vectors are read with."""

    fingerprint: str
    dim: int


@dataclass(slots=True)
class Replayed:
    """One partition of the vectors topic, up to an offset."""

    partition: int
    config: str
    """Digest of all that decides."""
    offset: int
    """Everything before it was decided; what follows is left to the matcher."""
    scopes: dict[str, Contents]
    indexes: Indexes
    erased: dict[str, Erasure]
    """Null values before `offset` whose record did not come again; where all messages are there, none, for then the
    scopes know whom they erased."""
    later: dict[str, Vector | Erasure] = field(default_factory=dict)
    """From `offset` on: the last of each record."""
    rejected: int = 0
    """Messages before `offset` that the matcher cannot read: vectors of other models, mostly."""


class VectorsReplay:
    """A matcher over a partition, with an empty `store` of its own, that tells nobody anything."""

    def __init__(self, partition: int, make: MakeStage, store: WholeStore, models: Models) -> None:
        self.partition = partition
        self._store = store
        self._models = models
        self._held = HeldIndexes()
        self._stage = make(self._store, self._held)
        self._stage.assigned(partition, high_watermark=0)
        self._erased: dict[str, Erasure] = {}
        self._rejected = 0
        self._fed = 0
        self.offset = 0
        """After the last message that was fed."""

    def feed(self, messages: Iterable[Message]) -> None:
        """Decide messages in order, as a matcher would whose batches do not matter."""
        for batch in _batches(messages):
            result = result_of(self._stage, batch)
            self._stage.delivered()
            self._rejected += len(result.rejected)
            self._fed += len(batch)
            for message in batch:
                self._note(message)
            self.offset = batch[-1].position.offset + 1

    def records(self) -> set[str]:
        """Ids of the records that are there so far."""
        return {record_id for held in self._store.contents(self.partition).values() for record_id in held.records}

    def finish(self, offset: int, later: Iterable[Message] = ()) -> Replayed:
        """What it comes to at `offset`, and of the `later` messages what they will need to find. Feed it no more."""
        config = self._stage.config
        self._stage.revoked(self.partition, lost=False)
        scopes = dict(self._store.contents(self.partition))
        erased = self._erased if self._fed < offset else {}
        found = Replayed(self.partition, config, offset, scopes, self._held.indexes, erased, rejected=self._rejected)
        for message in later:
            item = self._record_of(message)
            if item is not None:
                found.later[item.id] = item
        return found

    def _note(self, message: Message) -> None:
        if message.value is None and (item := self._record_of(message)):
            if isinstance(item, Erasure):
                self._erased[item.id] = item
        elif message.key is not None:
            self._erased.pop(message.key.decode(errors="replace"), None)

    def _record_of(self, message: Message) -> Vector | Erasure | None:
        """None for people's words, and for what cannot be read."""
        try:
            item = unpack(message, self._models.fingerprint, self._models.dim)
        except RejectedError:
            return None
        return item if isinstance(item, Vector | Erasure) else None


def _batches(messages: Iterable[Message]) -> Iterable[Sequence[Message]]:
    left = iter(messages)
    while batch := list(islice(left, _BATCH)):
        yield batch
