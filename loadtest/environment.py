"""Where a measurement was made: enough to tell whether two of them compare."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import confluent_kafka

from consumer.adapters import kafka_topics
from consumer.cores import available_cores
from consumer.errors import DedupError
from consumer.profile import Profile
from consumer.settings import Settings
from consumer.wiring import build_store, topic_specs

_PACKAGES = ("dedup-consumer", "confluent-kafka", "hnswlib", "numpy", "orjson", "redis")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def machine() -> dict[str, Any]:
    """This machine and what runs on it; the service may be on others."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        **{name: version for name in (*_PACKAGES, *_RUNTIMES) if (version := _version(name))},
    }


def environment(settings: Settings, profile: Profile) -> dict[str, Any]:
    """The same, with the cluster and the store; what does not answer is left out."""
    return {**machine(), "kafka": _kafka(settings, profile), "redis": _redis(settings, profile)}


def _kafka(settings: Settings, profile: Profile) -> Mapping[str, Any]:
    properties = settings.kafka.client_properties
    try:
        state = kafka_topics.check(properties, 10.0)
        names = [spec.name for spec in topic_specs(settings, profile)]
        topics = kafka_topics.describe(properties, names)
    except DedupError as error:
        return {"fault": str(error)}
    shown = {name: f"{topic.partitions} partitions, {topic.replication} replicas" for name, topic in topics.items()}
    return {"brokers": state.brokers, "topics": shown}


def _redis(settings: Settings, profile: Profile) -> Mapping[str, Any]:
    store = build_store(settings, profile)
    try:
        facts = store.check()
        return {name: facts[name] for name in ("version", "mode", "aof", "appendfsync")}
    except DedupError:
        return {"fault": "not reached from here"}
    finally:
        store.close()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
