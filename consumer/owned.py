"""What a matcher knows of the partitions and scopes that are its own."""

from dataclasses import dataclass, field

from consumer.beliefs import Beliefs
from consumer.ports import VectorIndex


@dataclass(slots=True)
class OwnedScope:
    """One scope this process owns."""

    name: str
    index: VectorIndex
    applied: int
    """Last offset whose changes are in the store."""
    beliefs: Beliefs
    """What its stream has shown up to there."""
    indexed: int = -1
    """Last offset that this process took into the index: a batch that is tried again is not taken in twice."""
    in_doubt: bool = False
    """A write was tried whose answer never came: only the store knows how far it is."""
    dirty: bool = True
    """Its outbox may hold entries that are not owed; true at first, since a predecessor may have left some."""
    waiting: int = 0
    """Records on its redo queue, or fewer, when last seen."""
    ticking: bool = False
    """A tick for it is in the topic, and has not come yet."""
    owed: int = -1
    """Sequence of the last outbox entry handed over for delivery, until that is acknowledged."""


@dataclass(slots=True)
class OwnedPartition:
    """One partition of the vectors topic this process owns."""

    number: int
    epoch: int
    target: int
    """High watermark when it was assigned: from there on it is live."""
    told: int
    """The group's committed offset: everything before it is decided, and its events are with the broker."""
    counted: int
    """Everything before it is in the figures: what was told although the answer was lost is not yet."""
    next_offset: int = 0
    """Everything before it is decided, and in the indexes."""
    handed: int = 0
    """What `told` will be once the last result is delivered."""
    since_snapshot: int = 0
    erased_ms: int | None = None
    """When a record was erased that the last snapshot may hold, the first since then; or that one could not be written."""
    scopes: dict[str, OwnedScope] = field(default_factory=dict)
