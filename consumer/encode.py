"""The encode stage: input messages → messages for the vectors topic. Holds no state; the only stage that sees names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from consumer.decode import decode
from consumer.errors import RejectedError
from consumer.feedback import decode_feedback
from consumer.layout import Layout
from consumer.loop import Result, last_positions
from consumer.metrics import METRICS
from consumer.names import scope_partition
from consumer.ports import Encoder, Model, Remembering
from consumer.profile import Profile
from consumer.records import Erasure, Message, Outgoing, Picture, Record, Rejected, Vector, Verdict
from consumer.rotation import Rotation
from consumer.vectors import pack_erasure, pack_vector, pack_verdict

STAGE = "encode"
_NO_NUMBERS = "the models make something of it that is no number; check them, and replay the letter"


@dataclass(frozen=True, slots=True)
class EncoderSet:
    """The encoders of a profile, one a modality, and what they make together."""

    profile: Profile
    encoders: Mapping[str, Encoder]
    rotation: Rotation | None = None
    """Turns every block, so that only who has its key can read vectors; None leaves them as the encoders made them."""
    layout: Layout = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        names = list(self.profile.modalities)
        dims = [self.encoders[name].dim for name in names]
        object.__setattr__(self, "layout", Layout(names, dims, self.profile.weights))
        parts = [
            [name, self.encoders[name].fingerprint, w] for name, w in zip(names, self.profile.weights, strict=True)
        ]
        if self.rotation is not None:
            parts.append(["rotation", self.rotation.fingerprint])
        object.__setattr__(self, "fingerprint", hashlib.blake2b(orjson.dumps(parts), digest_size=8).hexdigest())

    def encode(self, records: Sequence[Record]) -> list[Vector]:
        """Encode records, each independently of the others in the batch."""
        if not records:
            return []
        blocks, present = [], []
        pictures: list[Picture | None] = [None] * len(records)
        rows = [record.fields for record in records]
        for name in self.profile.modalities:
            with METRICS.encoder_seconds.labels(name).time():
                embeddings = self.encoders[name].encode(rows)
            turned = self.rotation.turn(name, embeddings.vectors) if self.rotation else embeddings.vectors
            there = int(np.count_nonzero(embeddings.present))
            METRICS.modalities.labels(name, "present").inc(there)
            METRICS.modalities.labels(name, "missing").inc(len(records) - there)
            blocks.append(turned)
            present.append(embeddings.present)
            if embeddings.pictures:
                pictures = [first or other for first, other in zip(pictures, embeddings.pictures, strict=True)]
        values, masks = self.layout.fuse(blocks, present)
        return [
            Vector(
                id=record.id,
                scope=record.scope,
                fingerprint=self.fingerprint,
                source=record.source,
                ingested_ms=record.ingested_ms,
                born_ms=record.born_ms,
                quality=self.profile.quality.of(record, pictures[i]),
                mask=masks[i],
                values=values[i],
            )
            for i, record in enumerate(records)
        ]

    def warm_up(self) -> None:
        """Run every model once at each shape that will come, before anyone waits for an answer. Raises ModelError."""
        for name, encoder in self.encoders.items():
            if isinstance(encoder, Model):
                with METRICS.warm_up_seconds.labels(name).time():
                    encoder.warm_up()

    def forget(self) -> None:
        """Drop what encoders remember of past records."""
        for encoder in self.encoders.values():
            if isinstance(encoder, Remembering):
                encoder.forget()


class EncodeStage:
    """Decodes, encodes and addresses a batch. `partitions` is the number of partitions of the vectors topic.

    Messages of the topic `feedback` are what people say of pairs: they are handed on to where the records are.
    """

    name = STAGE

    def __init__(self, encoders: EncoderSet, partitions: int, feedback: str | None = None) -> None:
        self._encoders = encoders
        self._profile = encoders.profile
        self._partitions = partitions
        METRICS.vectors_partitions.set(partitions)
        for name in self._profile.modalities:
            for outcome in ("present", "missing"):
                METRICS.modalities.labels(name, outcome)  # at 0: the first batch counts too
        self._feedback = feedback
        self._result = Result([])

    def room(self, limit: int) -> int:
        return limit

    def process(self, messages: Sequence[Message]) -> None:
        decoded: list[tuple[Message, Record | Erasure | Verdict]] = []
        rejected: list[Rejected] = []
        for message in messages:
            try:
                item = self._decode(message)
            except RejectedError as error:
                rejected.append(Rejected(message, STAGE, str(error)))
                continue
            if item is not None:
                decoded.append((message, item))
        made = self._encoders.encode([item for _, item in decoded if isinstance(item, Record)])
        vectors = iter(zip(made, _are_numbers(made), strict=True))
        if any(isinstance(item, Erasure) for _, item in decoded):
            # An erasure names a record, not what was in it; whose vectors are remembered cannot be told.
            self._encoders.forget()
        outgoing: list[Outgoing] = []
        for message, item in decoded:
            if isinstance(item, Record):
                vector, is_numbers = next(vectors)
                if is_numbers:
                    outgoing.append(self._address(vector))
                else:
                    rejected.append(Rejected(message, STAGE, _NO_NUMBERS))
            else:
                outgoing += self._erase(item) if isinstance(item, Erasure) else [self._tell(item)]
        ingested_ms = [item.ingested_ms for _, item in decoded]
        self._result = Result(outgoing, rejected, last_positions(messages), ingested_ms)

    def result(self) -> Result:
        return self._result

    def confirm(self) -> None:
        """Another encoder may do the same work: a vector that comes twice counts once."""

    def delivered(self) -> None: ...

    def undelivered(self) -> None: ...

    def ready(self) -> bool:
        return True

    def _decode(self, message: Message) -> Record | Erasure | Verdict | None:
        """None for what a person says to another profile's service. Raises RejectedError."""
        if message.position.topic != self._feedback:
            return decode(message, self._profile)
        verdict = decode_feedback(message, self._profile)
        METRICS.feedback.labels(verdict.says if verdict else "other_profile").inc()
        return verdict

    def _address(self, vector: Vector) -> Outgoing:
        partition = scope_partition(vector.scope, self._partitions)
        return pack_vector(vector, self._profile.vectors_topic, partition)

    def _erase(self, erasure: Erasure) -> list[Outgoing]:
        """To every partition: a null value does not say which scope its record was in."""
        topic = self._profile.vectors_topic
        return [pack_erasure(erasure, topic, partition) for partition in range(self._partitions)]

    def _tell(self, verdict: Verdict) -> Outgoing:
        partition = scope_partition(verdict.scope, self._partitions)
        return pack_verdict(verdict, self._profile.vectors_topic, partition)


def _are_numbers(vectors: Sequence[Vector]) -> list[bool]:
    """Whether every value of each is one. Else no matcher reads it, and `vectors` would lose what it has of the record."""
    if not vectors:
        return []
    finite: list[bool] = np.asarray(np.isfinite(np.stack([v.values for v in vectors])).all(axis=1)).tolist()
    return finite
