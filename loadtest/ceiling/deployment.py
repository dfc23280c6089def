"""A deployment that has decided so many records, and what another one costs there, round by round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consumer.decode import DEFAULT_SCOPE
from consumer.indexes import build_snapshots
from consumer.records import Message, Outgoing, Position
from consumer.vectors import tick_message
from consumer.wiring import build_store
from loadtest.ceiling.clock import BATCH, Cost
from loadtest.ceiling.encode_parts import encode_parts
from loadtest.ceiling.fill import Fill, Rows
from loadtest.ceiling.kafka_parts import acknowledged, transactional
from loadtest.ceiling.match_parts import SavedIndex, StoreCalls, decider_part, index_parts
from loadtest.ceiling.site import Site, records
from loadtest.ceiling.streams import encode_stream, match_stream, whole_stream

SKIP = 2 * BATCH
"""Records of each part that are not counted: connections, first runs, joining a group."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A site that has decided so many records."""

    site: Site
    size: int
    """What the records are called in a report: one batch fewer."""
    rows: Rows
    index: SavedIndex
    seeds: Iterator[int]
    """Shared by all, so that nobody is met again: words that were seen before cost less."""

    @classmethod
    def of(cls, site: Site, size: int, fill: Fill, seeds: Iterator[int]) -> "Deployment":
        """At a site of its own, let broker, store and snapshots know what was filled."""
        made = cls(site, size, fill.rows, SavedIndex.of(site, fill), seeds)
        topic, rows = site.profile.vectors_topic, len(made.rows)
        site.send(topic, [tick_message(DEFAULT_SCOPE, topic, 0)] * rows)
        store = build_store(site.settings, site.profile)
        made.rows.tell(store)
        store.close()
        snapshots = build_snapshots(site.settings, site.profile, site.encoders.layout.dim)
        snapshots.save(0, site.encoders.fingerprint, rows, {DEFAULT_SCOPE: (fill.index, rows - 1)})
        return made

    def records(self, prefix: str, count: int) -> list[Outgoing]:
        """Input messages about new people."""
        return records(self.site.profile, prefix, count, next(self.seeds))

    def vectors(self) -> list[Message]:
        """All that the encode stage brought."""
        return self.site.read(self.site.profile.vectors_topic, since=len(self.rows))


class EncodeRounds:
    """What the encode stage costs at a deployment, round by round; of a round so many records count as `sample` says."""

    def __init__(self, deployment: Deployment, sample: int) -> None:
        self._deployment, self._sample = deployment, sample
        self.parts: list[Mapping[str, Cost]] = []
        self.streams: list[Cost] = []

    def turn(self) -> None:
        """The stream over new records, then its parts over others."""
        deployment, site = self._deployment, self._deployment.site
        number, count = len(self.parts), self._sample + SKIP
        site.send(site.profile.input, deployment.records(f"stream-{number}", count))
        self.streams.append(encode_stream(site, count, SKIP))
        parts = encode_parts(site, _received(deployment.records(f"parts-{number}", count)))
        sent = [Outgoing(f"{site.profile.vectors_topic}.dlq", v.key, v.value) for v in deployment.vectors()]
        taken = (number + 1) * count
        name = f"acknowledged-{number}"
        kafka = acknowledged(site, name, site.profile.input, sent, taken, taken - self._sample)
        self.parts.append({**parts, "Kafka: consume, produce, commit": kafka})


class MatchRounds:
    """The same of the match stage, after all rounds of the encode stage: they brought the vectors."""

    def __init__(self, deployment: Deployment, sample: int) -> None:
        self._deployment, self._sample = deployment, sample
        site = deployment.site
        # matched batches end where they like: what one round takes too much the next would wait for
        site.send(site.profile.input, deployment.records("spare", BATCH))
        encode_stream(site, BATCH, 0)
        self._vectors = deployment.vectors()
        # before the stream: its snapshots are newer than what the stores here know
        self._calls = StoreCalls(site, deployment.rows, self._vectors[: sample + SKIP], SKIP)
        self.parts: list[Mapping[str, Cost]] = []
        self.streams: list[Cost] = []
        self.steps: list[Mapping[str, float]] = []

    def turn(self) -> None:
        """The parts over some vectors, and the stream, which comes to the same ones.

        Those of earlier rounds are in the stream's index, and so in that of the parts.
        """
        deployment, site = self._deployment, self._deployment.site
        number, count = len(self.parts), self._sample + SKIP
        taken = (number + 1) * count
        skipped = taken - self._sample
        parts = {
            **index_parts(site, deployment.index, self._vectors[:taken], skipped),
            **decider_part(site),
            **self._calls.parts(f"replayed-{number}"),
        }
        stream, steps = match_stream(site, count, SKIP)
        topics, rows = site.settings.topics, len(deployment.rows)
        events = [one for topic in (topics.events, topics.clusters, topics.possible) for one in site.read(topic)]
        told = [Outgoing(f"{site.profile.input}.dlq", event.key, event.value) for event in events]
        name = f"transactional-{number}"
        kafka = transactional(site, name, site.profile.vectors_topic, told, rows + taken, rows + skipped)
        self.parts.append({**parts, "Kafka: consume, and a transaction a batch": kafka})
        self.streams.append(stream)
        self.steps.append({cost.step: 1000 * cost.milliseconds_per_record for cost in steps})

    def both(self) -> Cost:
        """Both stages at once."""
        return whole_stream(self._deployment.site, self._deployment.records("whole", self._sample + SKIP), SKIP)


def _received(messages: Sequence[Outgoing]) -> list[Message]:
    return [
        Message(Position(m.topic, 0, offset), m.key, m.value, m.timestamp_ms or 0) for offset, m in enumerate(messages)
    ]
