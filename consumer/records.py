"""The nouns: values that pass between the stages. No behaviour beyond what a value knows of itself.

The order of reading is the order of the stream: Message → Record → Embeddings → Vector → Candidate → Match →
Cluster, ClusterChange → Outgoing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FieldValue = str | float | bytes | Sequence[str]
"""A decoded field: text and addresses are `str`, numbers `float`, a picture's file `bytes`, timestamps a sequence of
ISO 8601 `str`."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message came from. Two positions of one partition are ordered by `offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """What `str` makes of one. Raises ValueError for anything else."""
        topic, partition, offset = text.rsplit("/", 2)
        if not (topic and partition.isascii() and offset.isascii() and partition.isdigit() and offset.isdigit()):
            raise ValueError(f"{text!r} is no topic/partition/offset")
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a broker delivered it. `value` None means: erase the record named by `key`."""

    position: Position
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be produced. `partition` None lets the broker's hash of the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that a stage could not read, and why. Becomes a dead letter."""

    message: Message
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """A validated input record. `fields` holds only what was present and not empty."""

    id: str
    scope: str
    fields: Mapping[str, FieldValue]
    born_ms: int
    """When the record came into being (its own time where the profile names one, else the message's): seniority."""
    source: Position
    ingested_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture's file that was read: a part of its record's quality."""

    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What one encoder made of n records: unit rows where `present`, zero rows elsewhere."""

    vectors: Floats
    """float32 [n, dim]"""
    present: Bools
    """bool [n]"""
    pictures: Sequence[Picture | None] = ()
    """[n], of an encoder that reads pictures; else empty."""


@dataclass(frozen=True, slots=True)
class Vector:
    """An encoded record: what crosses the `vectors` topic. It carries numbers only, and is still personal data."""

    id: str
    scope: str
    fingerprint: str
    """Digest of profile and models; vectors of different fingerprints are never compared."""
    source: Position
    ingested_ms: int
    born_ms: int
    quality: float
    """0 (empty) to 1 (complete)."""
    mask: int
    """Bit i is set when modality i of the profile is present."""
    values: Halves
    """float16 [dim]: the fused vector, each modality's unit block scaled by the root of its weight."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request to forget a record, as it crosses the `vectors` topic."""

    id: str
    source: Position
    ingested_ms: int


Saying = Literal["same", "different", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says of two records, `a` < `b`, as it crosses the `vectors` topic. The newest of a pair counts."""

    a: str
    b: str
    says: Saying
    """`undecided` takes an earlier word back."""
    by: str
    """Who said so: a name that means something to the users, never looked up. Empty where nobody did: the word that
    came from `source` ended with one of its records, and is to be forgotten."""
    said_ms: int
    scope: str
    """Always named. A word for whatever scope has the records would be lost in a rebuild, where compaction has moved the
    records behind it: nothing would tell whom to keep it for."""
    source: Position
    ingested_ms: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A row of the `vectors` topic that carries nothing: a scope in which nothing else comes works off its redo queue."""

    scope: str
    source: Position
    """Its own."""
    ingested_ms: int


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate that was scored exactly, as `duplicate` or `possible`; different ones are not kept."""

    id: str
    """The candidate."""
    probability: float
    """Calibrated, 0 to 1."""
    duplicate: bool
    """True above the duplicate threshold, False in the band where a person decides."""
    similarities: Mapping[str, float]
    """Cosine per modality present in both records."""
    contributions: Mapping[str, float]
    """Log-odds per modality; with the fusion's bias they sum to the logit of `probability`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An edge between two records, `a` < `b`, as it is stored and as it leaves in events."""

    a: str
    b: str
    match: Match
    held: str | None = None
    """Why an edge above the threshold does not join its records: a reason of `consumer.merging`."""

    @property
    def joins(self) -> bool:
        """True when the edge holds its two records in one cluster."""
        return self.match.duplicate and self.held is None

    def other(self, record_id: str) -> str:
        return self.b if record_id == self.a else self.a


@dataclass(frozen=True, slots=True)
class RecordState:
    """What the cluster store knows of a record."""

    source: Position
    """The input message its present vector was made from; an older one that arrives late is ignored."""
    born_ms: int
    quality: float


@dataclass(frozen=True, slots=True)
class Member:
    """What a cluster knows of one of its records."""

    born_ms: int
    quality: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two or more records that are the same."""

    id: str
    version: int
    founded_ms: int
    """Birth of the record the id was minted from, which may have left since: seniority among clusters."""
    members: Mapping[str, Member]
    exemplar: str
    """The record to keep."""


@dataclass(frozen=True, slots=True)
class Retired:
    """What remains of a cluster id that ended: its last version and where its members went, if they went together."""

    version: int
    merged_into: str | None


ClusterEventKind = Literal["created", "joined", "merged", "left", "split", "dissolved", "updated", "exemplar_changed"]


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """One step in the life of a cluster; `<cluster_id>:<version>` names it for ever."""

    kind: ClusterEventKind
    cluster_id: str
    version: int
    added: Sequence[str]
    removed: Sequence[str]
    members: Sequence[str]
    """After the change, oldest first; empty when the cluster ended."""
    exemplar: str | None
    merged_from: Sequence[str] = ()
    merged_into: str | None = None
    split_from: str | None = None
    evidence: Sequence[Evidence] = ()
    verdicts: Sequence[Verdict] = ()
    """What people said that made the change."""
    previous_exemplar: str | None = None
    """On `exemplar_changed`: the record to keep until now, which may have left."""


@dataclass(frozen=True, slots=True)
class PossibleChange:
    """A pair for a person to decide: found, found again for another reason, or withdrawn."""

    kind: Literal["found", "withdrawn"]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Cause:
    """The vectors message that made a change happen: it dates, orders and names what follows from it."""

    position: Position
    source: Position
    ingested_ms: int


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A rendered event, kept in the cluster store until the broker is known to have it.

    On the stream `words`, a message for the vectors topic: see `consumer.vectors.word_entry`.
    """

    stream: Literal["events", "possible", "words"]
    key: str
    """Empty on `words`, whose keys are no text."""
    value: bytes
    offset: int
    """Of the vectors message that it follows from."""


@dataclass(frozen=True, slots=True)
class ScopeUpdate:
    """Everything one batch changes in the store for one scope, written all at once or not at all."""

    records: Mapping[str, RecordState | None]
    """None forgets the record."""
    assignments: Mapping[str, str | None]
    """Record → cluster; None where it stands alone."""
    clusters: Mapping[str, Cluster | Retired]
    members_put: Mapping[str, Sequence[str]]
    """Per live cluster in `clusters`: members that are new or changed."""
    members_dropped: Mapping[str, Sequence[str]]
    edges: Sequence[Evidence]
    edges_dropped: Sequence[tuple[str, str]]
    erased: Mapping[str, Position]
    """Erased record → the message that erased it, remembered for a while so that a late copy cannot bring it back."""
    outbox: Sequence[OutboxEntry]
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    """Record → all that is said of it now, by the other record; empty when nothing is."""
    redo_dropped: Sequence[str] = ()
    """Records taken off the redo queue, before others are put on."""
    redo_put: Sequence[str] = ()
    """Records at the end of the redo queue, unless they stand in it already."""
    beliefs: bytes | None = None
    """What the scope's stream has shown so far (`consumer.beliefs`); None leaves it."""
    whitening: bytes | None = None
    """What is common in the scope (`consumer.whitening`), which changes rarely; None leaves it."""
