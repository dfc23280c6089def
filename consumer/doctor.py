"""`dedup doctor`: is everything there, and as it should be? Each finding says what, and what to do."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from consumer.adapters import kafka_topics
from consumer.adapters.object_snapshots import ObjectSnapshots
from consumer.errors import DedupError, SnapshotError
from consumer.fusion_spec import LearnedSpec
from consumer.indexes import build_snapshots
from consumer.ports import Model
from consumer.profile import Profile, load_profile
from consumer.settings import Settings
from consumer.wiring import build_encoders, build_fusion, build_store, require_brokers, topic_specs

Level = Literal["ok", "warning", "fault"]
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Level
    detail: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at settings, models, brokers, topics and Redis, in that order; a fault in one does not hide the next."""
    profile = load_profile(settings.profile)
    yield Finding("profile", "ok", f"{profile.name}: {', '.join(profile.modalities)}")
    if fault := settings.privacy.key_fault:
        yield Finding("privacy.key", "warning", fault, "set DEDUP_PRIVACY__KEY to a secret of your own")
    if settings.privacy.rotation_key is not None:
        yield Finding("privacy.rotation_key", "ok", "vectors are turned by a secret rotation")
    for look in (_models, _state, _brokers, _topics, _snapshots, _redis):
        yield from _guarded(look, settings, profile)


def _guarded(
    look: Callable[[Settings, Profile], Iterator[Finding]], settings: Settings, profile: Profile
) -> Iterator[Finding]:
    try:
        yield from look(settings, profile)
    except DedupError as error:
        yield Finding(look.__name__.strip("_"), "fault", str(error))


def _models(settings: Settings, profile: Profile) -> Iterator[Finding]:
    encoders = build_encoders(settings, profile)  # checks every checksum
    build_fusion(settings, encoders)
    yield Finding(
        "models", "ok", f"checksums right, fingerprint {encoders.fingerprint}, {encoders.layout.dim} dimensions"
    )
    spec = profile.chosen_fusion(settings.matching.fusion)
    yield Finding("fusion", "ok", f"learned: {spec.model}" if isinstance(spec, LearnedSpec) else "weighted mean")
    for name, encoder in encoders.encoders.items():
        if isinstance(encoder, Model):
            passed_over = "; ".join(encoder.passed_over)
            yield Finding(
                f"provider of {name}", "ok", encoder.provider, f"passed over: {passed_over}" if passed_over else ""
            )


def _state(settings: Settings, profile: Profile) -> Iterator[Finding]:
    folder = (settings.state.directory / profile.name).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):  # the service makes what is missing below it
            pass
    except OSError as error:
        advice = "set state.directory to a folder that can be written"
        yield Finding("state directory", "warning", f"{folder}: no snapshot can be kept: {error.strerror}", advice)
    else:
        yield Finding("state directory", "ok", f"{folder} can be written")


def _snapshots(settings: Settings, profile: Profile) -> Iterator[Finding]:
    url = settings.state.snapshots
    if url is None:
        return
    store = build_snapshots(settings, profile, dim=1)
    if not isinstance(store, ObjectSnapshots):
        return
    try:
        store.check()
    except SnapshotError as error:
        advice = "the service runs without; each start replays `vectors`"
        yield Finding("snapshots", "warning", f"{url}: no snapshot can be kept: {error}", advice)
    else:
        yield Finding("snapshots", "ok", f"{url} can be written, listed and cleared")


def _brokers(settings: Settings, profile: Profile) -> Iterator[Finding]:
    del profile
    require_brokers(settings)
    state = kafka_topics.check(settings.kafka.client_properties, _TIMEOUT_SECONDS)
    yield Finding("brokers", "ok", f"{state.brokers} of cluster {state.cluster_id}")


def _topics(settings: Settings, profile: Profile) -> Iterator[Finding]:
    require_brokers(settings)
    specs = topic_specs(settings, profile)
    found = kafka_topics.describe(settings.kafka.client_properties, [spec.name for spec in specs])
    for spec in specs:
        what, state = f"topic {spec.name}", found.get(spec.name)
        if state is None:
            yield Finding(what, "fault", "does not exist", "run `dedup topics create`")
            continue
        policy, wanted = state.config.get("cleanup.policy", "delete"), spec.config.get("cleanup.policy", "delete")
        if ("compact" in policy) != (wanted == "compact"):
            yield Finding(what, "fault", f"cleanup.policy is {policy}", f"set it to {wanted}")
        elif state.partitions != spec.partitions:
            yield Finding(
                what,
                "warning",
                f"{state.partitions} partitions, settings say {spec.partitions}",
                "set topics.partitions",
            )
        else:
            yield Finding(what, "ok", f"{state.partitions} partitions, {state.replication} replicas, {policy}")


def _redis(settings: Settings, profile: Profile) -> Iterator[Finding]:
    store = build_store(settings, profile)
    try:
        facts = store.check()
    finally:
        store.close()
    yield Finding("redis", "ok", f"{facts['version']}, {facts['mode']}, {facts['role']} at {facts['address']}")
    if facts["aof"]:
        yield Finding("redis persistence", "ok", f"append-only file, fsync {facts['appendfsync'] or 'unknown'}")
    else:
        yield Finding(
            "redis persistence",
            "warning",
            "no append-only file: a crash of Redis loses assignments since its last dump",
            "set appendonly yes",
        )
    policy = facts["maxmemory_policy"]
    if policy not in (None, "noeviction"):
        yield Finding("redis eviction", "fault", f"maxmemory-policy is {policy}: records may vanish", "set noeviction")
