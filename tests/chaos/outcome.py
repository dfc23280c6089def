"""What a run left behind, wherever anybody could look: topics, Redis, indexes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage
from redis import Redis

from consumer.adapters.kafka_messages import received_message
from consumer.adapters.redis_layout import Names
from consumer.encode import EncoderSet, EncodeStage
from consumer.indexes import build_snapshots
from consumer.loop import result_of
from consumer.ports import Snapshot
from consumer.profile import load_profile
from consumer.records import Message
from consumer.settings import Settings, load_settings
from consumer.vectors import SOURCE_HEADER
from consumer.wiring import build_encoders
from tests.chaos.stream import PARTITIONS, SCOPES
from tests.deployment import Deployment, headers_of, key_of, redis_content, value_of

_READ_SECONDS = 600.0
Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, as a subscriber of committed messages read it."""

    id: str
    cluster_id: str
    version: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One message of `vectors`. `source` is the input message it was made from."""

    partition: int
    key: bytes
    value: bytes | None
    source: Place

    @property
    def version(self) -> tuple[int, bytes, Place, bytes | None]:
        """What it says, but for its times: a matcher that says it again has others (`consumer/late.py`)."""
        body = msgpack.unpackb(self.value) if self.value is not None else None
        if isinstance(body, dict):
            body = {name: part for name, part in body.items() if name not in {"in", "born"}}
        return self.partition, self.key, self.source, None if body is None else msgpack.packb(body)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoders should have made, or made, of the input; in the order of the input's partitions."""

    rows: Sequence[Row]
    letters: Sequence[Place]
    """Where dead letters came from."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What matchers made of `vectors`. Lists are in the order of their partitions."""

    events: Sequence[Told]
    possible: Sequence[tuple[str, bytes]]
    """Key and value."""
    states: Mapping[str, dict[str, Any] | None]
    """What compaction would leave of the clusters topic."""
    redis: Mapping[str, object]
    """Every key of the scopes, without the prefix, and what it holds; numbers that only count attempts are left out."""
    assignments: Mapping[str, str]
    records: Mapping[str, Sequence[str]]
    """By scope: the records that Redis knows."""
    indexes: Mapping[str, tuple[int, Mapping[str, bytes]]]
    """By scope, from the newest snapshot of each partition: how many records it has, and of those that Redis knows the
    numbers of the vector."""


def encoded(deployment: Deployment) -> Encoded:
    """What is in `vectors` and the dead-letter topics."""
    rows = [row for m in read(deployment, deployment.vectors) if (row := _row(m.key(), m.value(), m)) is not None]
    return Encoded(rows, list(_letters(deployment)))


def expected(deployment: Deployment) -> Encoded:
    """What one encoder that nothing happens to makes of the input topics, asked here and now."""
    _, encoders = _encoders(deployment)
    stage = EncodeStage(encoders, PARTITIONS, deployment.feedback)
    rows: list[Row] = []
    letters: list[Place] = []
    for message in _inputs(deployment):
        result = result_of(stage, [message])
        place = message.position.topic, message.position.partition, message.position.offset
        letters += [place] * len(result.rejected)
        rows += [Row(sent.partition or 0, sent.key or b"", sent.value, place) for sent in result.outgoing]
    return Encoded(rows, letters)


def decided(deployment: Deployment, under: str, states: Sequence[Path]) -> Decided:
    """Of matchers that have stopped, whose topics and keys begin with `under`; `states` are their folders."""
    with Redis.from_url(deployment.redis_url) as client:
        redis, records, assignments = _redis(client, deployment.name, under)
    return Decided(
        [_told(m) for m in read(deployment, f"{under}.events")],
        [(key_of(m), value_of(m)) for m in read(deployment, f"{under}.possible")],
        _states(deployment, under),
        redis,
        assignments,
        records,
        _indexes(deployment, states, records),
    )


def read(deployment: Deployment, topic: str) -> list[KafkaMessage]:
    """Every committed message of a topic. Ends at the end of each partition, which a transaction's marker may be."""
    settings: dict[str, str | bool | int] = {
        "group.id": f"{deployment.name}.outcome",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    client = Consumer({**deployment.clients(), **settings})
    try:
        numbers = client.list_topics(topic, timeout=10).topics[topic].partitions
        client.assign([TopicPartition(topic, p, 0) for p in numbers])
        left: set[int | None] = set(numbers)
        found: list[KafkaMessage] = []
        deadline = time.monotonic() + _READ_SECONDS
        while left:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in client.consume(1000, 0.1):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left.discard(message.partition())
        return found
    finally:
        client.close()


def _inputs(deployment: Deployment) -> Iterator[Message]:
    for topic in (deployment.input, deployment.feedback):
        for message in read(deployment, topic):
            yield received_message(message)


def _told(message: KafkaMessage) -> Told:
    event = orjson.loads(value_of(message))
    return Told(event["id"], event["data"]["cluster_id"], event["data"]["version"], value_of(message))


def _states(deployment: Deployment, under: str) -> dict[str, dict[str, Any] | None]:
    last = {key_of(m): m.value() for m in read(deployment, f"{under}.clusters")}
    return {key: None if value is None else orjson.loads(value) for key, value in last.items()}


def _letters(deployment: Deployment) -> Iterator[Place]:
    for topic in (deployment.input, deployment.feedback, deployment.vectors):
        for message in read(deployment, f"{topic}.dlq"):
            said = headers_of(message)
            yield said["dedup-topic"], int(said["dedup-partition"]), int(said["dedup-offset"])


def _row(key: str | bytes | None, value: bytes | None, message: KafkaMessage) -> Row | None:
    """None for what says nothing of an input message."""
    if value is None:
        said = headers_of(message).get(SOURCE_HEADER, "").rsplit("/", 2)
    else:
        said = msgpack.unpackb(value).get("src", ())
    if len(said) != 3:
        return None
    raw = key if isinstance(key, bytes) else str(key).encode()
    return Row(message.partition() or 0, raw, value, (said[0], int(said[1]), int(said[2])))


def _redis(client: Any, profile: str, prefix: str) -> tuple[dict[str, object], dict[str, list[str]], dict[str, str]]:
    """All that the scopes hold but epochs, offsets, sequence numbers, and marks of erased records that are back."""
    key = load_settings().privacy.key_bytes
    dump: dict[str, object] = {}
    records: dict[str, list[str]] = {}
    assignments: dict[str, str] = {}
    for scope in SCOPES:
        names = Names(prefix, profile, scope, key)
        records[scope] = sorted(field.decode() for field in client.hkeys(names.records))
        assignments |= {r.decode(): cid.decode() for r, cid in client.hgetall(names.assignments).items()}
        back = {names.erased(record) for record in records[scope]}
        for found in client.scan_iter(f"{names.head.removesuffix('head')}*", count=1000):
            name = found.decode()
            if name == names.head:
                dump[name.removeprefix(prefix)] = client.hget(name, "beliefs")
            elif name not in back:
                dump[name.removeprefix(prefix)] = redis_content(client, found)
    return dump, records, assignments


def _encoders(deployment: Deployment, **overrides: object) -> tuple[Settings, EncoderSet]:
    file = deployment.environment["DEDUP_PROFILE"]
    servers = {"kafka.bootstrap_servers": deployment.servers}
    settings = load_settings(None, {"profile": file, **servers, **overrides})
    return settings, build_encoders(settings, load_profile(file))


def _indexes(
    deployment: Deployment, states: Sequence[Path], records: Mapping[str, Sequence[str]]
) -> dict[str, tuple[int, dict[str, bytes]]]:
    newest: dict[int, Snapshot] = {}
    for state in states:
        settings, encoders = _encoders(deployment, **{"state.directory": state})
        snapshots = build_snapshots(settings, encoders.profile, encoders.layout.dim)
        for number in range(PARTITIONS):
            held = snapshots.load(number, encoders.fingerprint, dict.fromkeys(SCOPES, 2**62))
            if held is not None and (number not in newest or held.offset >= newest[number].offset):
                newest[number] = held
    found = {}
    for snapshot in newest.values():
        for scope, index in snapshot.indexes.items():
            ids = [record for record in records[scope] if record in index]
            rows = index.vectors(ids)[0] if ids else ()
            found[scope] = len(index), {record: row.tobytes() for record, row in zip(ids, rows, strict=True)}
    return found
