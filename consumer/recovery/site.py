"""A deployment seen from outside, as the commands of recovery see it: its topics, its group, its Redis."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Self

from consumer.adapters import kafka_groups
from consumer.adapters.kafka_reader import KafkaReader, complete, highs
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.encode import EncoderSet
from consumer.errors import SettingsError
from consumer.indexes import build_snapshots
from consumer.match import MatchStage
from consumer.minter import generation_key
from consumer.names import matchers_group
from consumer.ports import ClusterStore, SnapshotStore
from consumer.profile import load_profile
from consumer.records import Message
from consumer.recovery.restoration import Identity, Restoration
from consumer.recovery.told import Told
from consumer.recovery.vectors_replay import Models, VectorsReplay
from consumer.settings import Settings
from consumer.wiring import (
    build_encoders,
    build_inventory,
    build_match_stage,
    build_store,
    require_brokers,
)

Progress = Callable[[str, int, int], None]
"""What is done, how far, of how much."""
_DAY_MS = 24 * 3600 * 1000


class Site:
    """A deployment seen from outside: its topics, its group, its Redis. A context manager; calls raise DedupError."""

    def __init__(self, settings: Settings, encoders: EncoderSet | None = None) -> None:
        require_brokers(settings)
        self.settings = settings
        self.profile = load_profile(settings.profile)
        self.encoders = encoders or build_encoders(settings, self.profile)
        self.group = matchers_group(settings, self.profile)
        self._up = ExitStack()

    def __enter__(self) -> Self:
        self.reader = KafkaReader(self.settings.kafka.consumer_properties)
        self._up.callback(self.reader.close)
        self.store = build_store(self.settings, self.profile)
        self._up.callback(self.store.close)
        self.inventory = build_inventory(self.settings, self.profile)
        self._up.callback(self.inventory.close)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._up.close()

    @property
    def topic(self) -> str:
        return self.profile.vectors_topic

    @property
    def models(self) -> Models:
        return Models(self.encoders.fingerprint, self.encoders.layout.dim)

    def is_active(self) -> bool:
        """Whether matchers run."""
        return kafka_groups.is_active(self.settings.kafka.client_properties, self.group)

    def require_stopped(self) -> None:
        """Raise SettingsError while matchers run."""
        if self.is_active():
            raise SettingsError(
                f"the group {self.group} has members: stop the matchers (`dedup run --role match` and `all`) first. One "
                "that was killed is let go after its session timeout. Encoders may go on."
            )

    def require_room(self, *, replace: bool) -> None:
        """Raise SettingsError when there is something in Redis that nobody said to replace."""
        if not replace and not self.inventory.is_empty():
            raise SettingsError(
                f"there is state of {self.profile.name} under redis.prefix {self.settings.redis.prefix} already: say "
                "--replace to put the rebuilt one in its place, or set another prefix"
            )

    def committed(self) -> Mapping[int, int]:
        """What the matchers have committed; a transaction that one of them left open is waited for."""
        return kafka_groups.committed(self.settings.kafka.client_properties, self.group, self.topic)

    def commit(self, offsets: Mapping[int, int]) -> None:
        kafka_groups.commit(self.settings.kafka.client_properties, self.group, self.topic, offsets)

    def told(self, progress: Progress) -> tuple[Told, bool]:
        """What was told of clusters, and whether every event that ever was is still there."""
        told, topics = Told(self.profile.name), self.settings.topics
        for topic, take in ((topics.clusters, told.state), (topics.events, told.event)):
            ends = self.reader.ends(topic)
            for count, message in enumerate(self.reader.read(topic, highs(ends))):
                take(message)
                if count % 1000 == 0:
                    progress(f"reading {topic}", count, sum(highs(ends).values()))
        return told, complete(self.reader.ends(topics.events))

    def identity(self, partitions: int) -> Identity:
        """What clusters are named by; reads the generation of ids from Redis, if it is known there."""
        key, generation = self.settings.privacy.key_bytes, self.inventory.generation()
        keys = list(dict.fromkeys([generation_key(key, generation), key]))
        chosen = self.settings.matching
        remembered_ms = 0 if chosen.reingest == "deny" else now_ms() - chosen.erased_days * _DAY_MS
        return Identity(self.profile.name, self.topic, partitions, keys, remembered_ms)

    def replay(self, partition: int) -> VectorsReplay:
        generation = self.inventory.generation()

        def make(store: ClusterStore, held: SnapshotStore) -> MatchStage:
            stage = build_match_stage(self.settings, self.encoders, store, held)
            stage.mint_with(generation)
            return stage

        return VectorsReplay(partition, make, MemoryClusters(), self.models)

    def save_indexes(self, made: Restoration) -> None:
        """Leave a snapshot where this process keeps snapshots, so that a matcher that finds it need not replay."""
        snapshots = build_snapshots(self.settings, self.profile, self.encoders.layout.dim)
        offset = made.replayed.offset
        scopes = {scope: (index, offset - 1) for scope, (index, _) in made.replayed.indexes.items()}
        if scopes and offset:
            snapshots.save(made.replayed.partition, self.encoders.fingerprint, offset, scopes)


def feed(site: Site, replay: VectorsReplay, until: int, progress: Progress) -> None:
    """Replay a partition from where it is to an offset, telling how far it is."""
    number = replay.partition
    messages = site.reader.read(site.topic, {number: until}, {number: replay.offset})

    def told() -> Iterator[Message]:
        for count, message in enumerate(messages):
            if count % 1000 == 0:
                progress(f"replaying {site.topic}[{number}]", message.position.offset, until)
            yield message

    replay.feed(told())


def now_ms() -> int:
    return time.time_ns() // 1_000_000
