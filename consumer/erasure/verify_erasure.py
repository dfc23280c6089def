"""`dedup erase --verify`: wait until an erasure went through both stages, then look for the record everywhere."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgpack
import numpy as np
import orjson

from consumer.adapters import kafka_groups, kafka_topics
from consumer.adapters.file_residue import files_with
from consumer.adapters.kafka_reader import KafkaReader, highs
from consumer.adapters.redis_connection import RedisConnection
from consumer.adapters.redis_layout import Names
from consumer.adapters.redis_residue import RedisResidue
from consumer.adapters.row_file import id_bytes
from consumer.erasure.residue import Live, Report, Traces
from consumer.erasure.topic_residue import TopicScan
from consumer.errors import BrokerError
from consumer.indexes import SPOOL
from consumer.names import dead_letter_topic, encoders_group, matchers_group
from consumer.profile import Profile
from consumer.records import Position
from consumer.settings import Settings
from consumer.vectors import SOURCE_HEADER
from consumer.wiring import build_store, topic_specs

_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Before:
    """How far the topics were when the erasure was asked for."""

    input: Mapping[int, int]
    vectors: Mapping[int, int]


class Verification:
    """One record's erasure, followed and proven. Calls raise DedupError."""

    def __init__(self, settings: Settings, profile: Profile, record_id: str) -> None:
        self._settings = settings
        self._profile = profile
        self._traces = Traces(record_id)
        # what is in no subscriber's sight, of transactions that were aborted, is in the files of the brokers all the same
        self._properties = {**settings.kafka.consumer_properties, "isolation.level": "read_uncommitted"}

    def before(self) -> Before:
        """Note where the topics end now."""
        with self._reader() as reader:
            return Before(highs(reader.ends(self._profile.input)), highs(reader.ends(self._profile.vectors_topic)))

    @contextmanager
    def _reader(self) -> Iterator[KafkaReader]:
        reader = KafkaReader(self._properties)
        try:
            yield reader
        finally:
            reader.close()

    # following

    def follow(self, before: Before, deadline: float) -> str:
        """Wait until the erasure went through; why it did not by the monotonic `deadline`, or nothing."""
        origin = self._find(self._profile.input, before.input, None)
        if not origin:
            return (
                f"the null value is not on {self._profile.input}: another message of its key took its place meanwhile"
            )
        ((number, offset),) = origin.items()
        if late := self._await(encoders_group(self._settings, self._profile), self._profile.input, origin, deadline):
            return late
        source = f"{self._profile.input}/{number}/{offset}"
        tombstones = self._find(self._profile.vectors_topic, before.vectors, source)
        if len(tombstones) < len(before.vectors):
            return f"only {len(tombstones)} of the {len(before.vectors)} partitions of {self._profile.vectors_topic} have it"
        return self._await(
            matchers_group(self._settings, self._profile), self._profile.vectors_topic, tombstones, deadline
        )

    def _find(self, topic: str, since: Mapping[int, int], source: str | None) -> dict[int, int]:
        """Partition → offset of the newest null value of the record; of the one that came from `source`, if that is given."""
        found: dict[int, Position] = {}
        with self._reader() as reader:
            ends = {n: end for n, end in highs(reader.ends(topic)).items() if n in since}
            for message in reader.read(topic, ends, since):
                if message.key != self._traces.key or message.value is not None:
                    continue
                if source is None or message.headers.get(SOURCE_HEADER, b"").decode(errors="replace") == source:
                    found[message.position.partition] = message.position
        return {number: position.offset for number, position in found.items()}

    def _await(self, group: str, topic: str, wanted: Mapping[int, int], deadline: float) -> str:
        while True:
            done = kafka_groups.committed(self._settings.kafka.client_properties, group, topic)
            late = sorted(number for number, offset in wanted.items() if done.get(number, 0) <= offset)
            if not late:
                return ""
            if time.monotonic() > deadline:
                where = ", ".join(map(str, late))
                return f"the {group.rsplit('.', 1)[-1]} stage (group {group}) did not get to it in {topic}, partition {where}: does it run?"
            time.sleep(_PAUSE_SECONDS)

    # looking

    def look(self, deadline: float) -> Report:
        """Scan everything. What goes by itself is looked at again until the monotonic `deadline`."""
        report = Report()
        _until_clean(self._look_at_redis, report, deadline)
        vectors = self._look_at_topics(report)
        own = self._its_own(vectors)
        _until_clean(lambda found: self._look_at_snapshots(found, own), report, deadline)
        return report

    def _look_at_redis(self, report: Report) -> None:
        chosen = self._settings.redis
        store = build_store(self._settings, self._profile)
        try:
            partitions = len(self._partitions())
            scopes = [scope for number in range(partitions) for scope in store.scopes(number)]
        finally:
            store.close()
        key = self._settings.privacy.key_bytes
        names = (Names(chosen.prefix, self._profile.name, scope, key) for scope in scopes)
        erased = frozenset(name.erased(self._traces.id) for name in names)
        redis = RedisConnection(
            chosen.url.get_secret_value(), cluster=chosen.cluster, timeout_seconds=chosen.timeout_seconds
        )
        residue = RedisResidue(redis, profile=self._profile.name, prefix=chosen.prefix)
        try:
            residue.look(self._traces, report, erased)
        finally:
            residue.close()

    def _partitions(self) -> Mapping[int, object]:
        with self._reader() as reader:
            return reader.ends(self._profile.vectors_topic)

    def _look_at_topics(self, report: Report) -> list[bytes]:
        """Returns the vectors that the record had, as far as they can be read still: values of the vectors topic."""
        vectors: list[bytes] = []
        topics = self._settings.topics
        shared = {topics.feedback, dead_letter_topic(topics.feedback), topics.events, topics.clusters, topics.possible}
        report.looked_at["topics"] = 0
        for spec in topic_specs(self._settings, self._profile):
            config = kafka_topics.configuration(self._settings.kafka.client_properties, spec.name)
            compacted = "compact" in config.get("cleanup.policy", "")
            profile = self._profile.name if spec.name in shared else None
            scan = TopicScan(spec.name, self._traces, compacted=compacted, profile=profile)
            with self._reader() as reader:
                scan.read(reader.read(spec.name, highs(reader.ends(spec.name))))
            report.looked_at["topics"] += scan.messages
            report.live += scan.live
            report.retained += scan.retained(config)
            if spec.name == self._profile.vectors_topic:
                vectors = scan.values
        return vectors

    def _look_at_snapshots(self, report: Report, vectors: Sequence[bytes]) -> None:
        needles = [
            orjson.dumps(self._traces.id),
            id_bytes(self._traces.id),
            *(part for halves in vectors for part in _numbers(halves)),
        ]
        state = self._settings.state
        places = [str(state.directory.absolute() / folder) for folder in (self._profile.name, SPOOL)]
        if state.snapshots is not None:
            places.append(f"{state.snapshots.rstrip('/')}/{self._profile.name}")
        report.looked_at["files"] = 0
        for place in places:
            for path, found in files_with(place, needles):
                report.looked_at["files"] += 1
                if found:
                    what = f"{path} holds the record or its vector, until the next one is written"
                    report.live.append(Live("snapshot", what))

    def _its_own(self, vectors: Iterable[bytes]) -> list[bytes]:
        """Of the vectors that a record had, those that no other record has: where one is found, it is the record's."""
        had = {halves for value in vectors if (halves := _halves(value))}
        if not had:
            return []
        others: dict[tuple[int, bytes | None], bytes] = {}
        with self._reader() as reader:
            topic = self._profile.vectors_topic
            for message in reader.read(topic, highs(reader.ends(topic))):
                place, halves = (message.position.partition, message.key), _halves(message.value or b"")
                if message.key != self._traces.key and halves in had:
                    others[place] = halves
                else:
                    others.pop(place, None)
        return sorted(had - set(others.values()))


def _until_clean(look: Callable[[Report], None], report: Report, deadline: float) -> None:
    """Look, and again while something is found that may be on its way out; then add it to the report."""
    while True:
        found = Report()
        look(found)
        if found.clean or time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    report.live += found.live
    report.looked_at |= found.looked_at
    report.remembered += found.remembered


def _halves(value: bytes) -> bytes:
    """The numbers of a vector, as a message of the vectors topic holds them; empty where it holds none."""
    try:
        halves = msgpack.unpackb(value)["vec"]
    except (ValueError, KeyError, TypeError, msgpack.UnpackException):
        return b""
    return halves if isinstance(halves, bytes) and any(halves) and len(halves) % 2 == 0 else b""


def _numbers(halves: bytes) -> list[bytes]:
    """The same, as the files of an index may hold them."""
    return [halves, np.frombuffer(halves, dtype="<f2").astype("<f4").tobytes()]


def require_topics(settings: Settings, profile: Profile) -> None:
    """Raise BrokerError when a topic of the profile is missing: a scan could not be whole."""
    names = [spec.name for spec in topic_specs(settings, profile)]
    there = kafka_topics.describe(settings.kafka.client_properties, names)
    if missing := sorted(set(names) - there.keys()):
        raise BrokerError(f"topics are missing: {', '.join(missing)}; create them with `dedup topics create`")
