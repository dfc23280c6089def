"""A place for one measurement: topics, groups, keys and a folder that nobody else uses, with the settings of the service."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import yaml

from consumer.adapters.kafka_publisher import send
from consumer.adapters.kafka_reader import KafkaReader, highs
from consumer.encode import EncoderSet
from consumer.errors import SettingsError
from consumer.profile import Profile, load_profile
from consumer.records import Message, Outgoing
from consumer.settings import Settings, load_settings
from consumer.wiring import create_topics
from loadtest.author import shape_of
from loadtest.workload import Mix

DUPLICATE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Site:
    """One deployment with a single partition, so that a single matcher does all the work."""

    settings: Settings
    encoders: EncoderSet
    folder: Path

    @property
    def profile(self) -> Profile:
        return self.encoders.profile

    def named(self, name: str) -> str:
        """A topic or key prefix of this place alone."""
        return f"{self.profile.name}.{name}"

    def send(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """To a topic, and wait until the broker has them."""
        send(self.settings.kafka.producer_properties, [replace(message, topic=topic) for message in messages])

    def read(self, topic: str, since: int = 0) -> list[Message]:
        """All of partition 0 from an offset on, as a read_committed subscriber sees it."""
        reader = KafkaReader(self.settings.kafka.client_properties)
        try:
            return list(reader.read(topic, highs(reader.ends(topic)), {0: since}))
        finally:
            reader.close()


def own_settings(config: Path | None, profile: Profile, name: str, folder: Path) -> Settings:
    """The user's settings, with names nobody else uses. The cache of repeated texts is off, for bare costs know none."""
    file = folder / "profile.yaml"
    own = profile.model_copy(update={"name": name, "input": f"{name}.in", "vectors": None})
    file.write_text(yaml.safe_dump(own.model_dump(mode="json", exclude_none=True), sort_keys=False), encoding="utf-8")
    topics = {f"topics.{topic}": f"{name}.{topic}" for topic in ("feedback", "events", "clusters", "possible")}
    changes: Mapping[str, object] = {
        **topics,
        "profile": str(file),
        "topics.create": True,
        "topics.partitions": 1,
        "kafka.group": name,
        "redis.prefix": name,
        "state.directory": folder / "state",
        "state.snapshots": None,
        "state.standby": False,
        "state.snapshot_records": 10**9,
        "models.cache_entries": 0,
        "http.host": "127.0.0.1",
        "http.port": 0,
        "log.level": "error",
    }
    return load_settings(config, changes)


def site(settings: Settings, encoders: EncoderSet, folder: Path) -> Site:
    """Make the topics. Raises SettingsError and BrokerError."""
    profile = load_profile(settings.profile)
    if profile.scope is not None:
        raise SettingsError(
            f"profile {profile.name}: the ceiling is measured in one scope; use a profile without `scope`"
        )
    create_topics(settings, profile)
    return Site(settings, EncoderSet(profile, encoders.encoders, encoders.rotation), folder)


def records(profile: Profile, prefix: str, count: int, seed: int) -> list[Outgoing]:
    """Input messages of invented people or things, some of them duplicates."""
    stream = shape_of(profile, Mix(new=1)).stream(seed, DUPLICATE_SHARE)
    now_ms = time.time_ns() // 1_000_000
    values = (next(stream)[1] for _ in range(count))
    return [
        Outgoing(profile.input, f"{prefix}-{n:07d}".encode(), orjson.dumps(value), timestamp_ms=now_ms)
        for n, value in enumerate(values)
    ]
