"""One size of the index: a deployment that has decided so many records, and what another one costs there."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consumer.decode import DEFAULT_SCOPE
from consumer.indexes import build_snapshots
from consumer.records import Message, Outgoing, Position
from consumer.vectors import tick_message
from consumer.wiring import build_store
from loadtest.ceiling.clock import BATCH, Cost, median, medians
from loadtest.ceiling.encode_parts import encode_parts
from loadtest.ceiling.fill import Fill
from loadtest.ceiling.kafka_parts import acknowledged, transactional
from loadtest.ceiling.match_parts import SavedIndex, decider_part, index_parts, store_parts
from loadtest.ceiling.site import Site, records
from loadtest.ceiling.streams import encode_stream, match_stream, whole_stream

SKIP = 2 * BATCH
"""Records of each part that are not counted: connections, first runs, joining a group."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a record costs with so many in the index."""

    records: int
    encode_parts: Mapping[str, Cost]
    match_parts: Mapping[str, Cost]
    encode_stream: Cost
    match_stream: Cost
    match_steps: Mapping[str, float]
    """What the steps of the match stage took in the stream by the wall, in microseconds, as its own metrics say."""
    whole_stream: Cost


class Deployment:
    """Its methods are called in the order in which they stand here; the rounds of several ones take turns."""

    def __init__(self, site: Site, fill: Fill, size: int, sample: int, seeds: Iterator[int]) -> None:
        """At a site of its own. `size` is what the fill is called, `sample` the records of a round that count.

        `seeds` are shared, so that nobody is met again: words that were seen before cost less.
        """
        self._site, self._size, self._count = site, size, sample + SKIP
        self._seeds = seeds
        self._rows, self._index = fill.rows, SavedIndex.of(site, fill)
        self._vectors: list[Message] = []
        self._encode: list[tuple[Mapping[str, Cost], Cost]] = []
        self._match: list[tuple[Mapping[str, Cost], Cost, Mapping[str, float]]] = []
        self._encode_kafka: dict[str, Cost] = {}
        self._match_redis: Mapping[str, Cost] = {}
        topic = site.profile.vectors_topic
        site.send(topic, [tick_message(DEFAULT_SCOPE, topic, 0)] * len(self._rows))
        store = build_store(site.settings, site.profile)
        self._rows.tell(store)
        store.close()
        snapshots = build_snapshots(site.settings, site.profile, site.encoders.layout.dim)
        scopes = {DEFAULT_SCOPE: (fill.index, len(self._rows) - 1)}
        snapshots.save(0, site.encoders.fingerprint, len(self._rows), scopes)

    def encode(self) -> None:
        """A round: the stream over new records, then its parts over others."""
        site, number = self._site, len(self._encode)
        site.send(site.profile.input, records(site.profile, f"stream-{number}", self._count, next(self._seeds)))
        stream = encode_stream(site, self._count, SKIP)
        others = records(site.profile, f"parts-{number}", self._count, next(self._seeds))
        self._encode.append((encode_parts(site, _received(others)), stream))

    def ask(self) -> None:
        """Kafka and Redis by themselves, as far as no stream of the match stage is needed before."""
        site, count = self._site, self._count
        # matched batches end where they like: what one round takes too much the next would wait for
        site.send(site.profile.input, records(site.profile, "spare", BATCH, next(self._seeds)))
        encode_stream(site, BATCH, 0)
        topic = site.profile.vectors_topic
        self._vectors = site.read(topic, since=len(self._rows))
        sent = [Outgoing(f"{topic}.dlq", v.key, v.value) for v in self._vectors[:count]]
        acknowledging = acknowledged(site, site.profile.input, sent, count, SKIP)
        self._encode_kafka = {"Kafka: consume, produce, commit": acknowledging}
        self._match_redis = store_parts(site, self._rows, self._vectors[:count], SKIP)

    def match(self) -> None:
        """A round: the parts over some vectors, then the stream, which comes to the same ones.

        Those of earlier rounds are in the stream's index, and so in that of the parts.
        """
        earlier = len(self._match) * self._count
        vectors = self._vectors[: earlier + self._count]
        parts = {**index_parts(self._site, self._index, vectors, earlier + SKIP), **decider_part(self._site)}
        stream, steps = match_stream(self._site, self._count, SKIP)
        self._match.append((parts, stream, {cost.step: 1000 * cost.milliseconds_per_record for cost in steps}))

    def finish(self) -> Size:
        """Transactions by themselves, then both stages at once; and all that was found."""
        site, count = self._site, self._count
        topics = site.settings.topics
        events = [
            message for topic in (topics.events, topics.clusters, topics.possible) for message in site.read(topic)
        ]
        told = [Outgoing(f"{site.profile.input}.dlq", message.key, message.value) for message in events]
        decided = len(self._rows) + len(self._match) * count
        transacting = transactional(site, site.profile.vectors_topic, told, decided, len(self._rows) + SKIP)
        whole = whole_stream(site, records(site.profile, "whole", count, next(self._seeds)), SKIP)
        return Size(
            records=self._size,
            encode_parts={**medians([parts for parts, _ in self._encode]), **self._encode_kafka},
            match_parts={
                **medians([parts for parts, _, _ in self._match]),
                **self._match_redis,
                "Kafka: consume, and a transaction a batch": transacting,
            },
            encode_stream=median([stream for _, stream in self._encode]),
            match_stream=median([stream for _, stream, _ in self._match]),
            match_steps=_median_steps([steps for _, _, steps in self._match]),
            whole_stream=whole,
        )


def _median_steps(rounds: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    return {name: statistics.median(steps.get(name, 0.0) for steps in rounds) for name in rounds[0]}


def _received(messages: Sequence[Outgoing]) -> list[Message]:
    return [
        Message(Position(m.topic, 0, offset), m.key, m.value, m.timestamp_ms or 0) for offset, m in enumerate(messages)
    ]
