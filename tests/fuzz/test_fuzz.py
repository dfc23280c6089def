"""A short campaign over every target, and the same inputs in the stream: each is a dead letter, and the next record passes."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import orjson
import pytest

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.delivery import AtLeastOnce
from consumer.encode import EncodeStage
from consumer.loop import Limits, Loop, result_of
from consumer.records import Message, Outgoing, Position
from consumer.settings import load_settings
from consumer.wiring import build_match_stage
from tests.factories import NOW_MS, encoder_set, message, signup
from tests.fuzz.campaign import run
from tests.fuzz.targets import MARK, Draw, targets

SEED = 20_251_121
IN, FEEDBACK, VECTORS = "persons", "feedback", "vectors.person"
ROUNDS, ROUND = 40, 50


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("records", 20_000),
        ("feedback", 10_000),
        ("vectors", 10_000),
        ("images", 600),
        ("settings", 60),
        ("profiles", 40),
    ],
)
def test_no_input_is_more_than_refused(target: str, inputs: int, tmp_path: Path) -> None:
    tally = run(inputs, SEED, tmp_path, target)[target]
    assert tally.defects == []
    assert tally.refused == inputs


def inputs(folder: Path) -> Iterator[Outgoing]:
    """Bad and odd ones for both topics of the encoder, without end."""
    chance = random.Random(SEED)
    drawn = targets(folder)
    while True:
        for name, topic in (("records", IN), ("feedback", FEEDBACK)):
            m = drawn[name].draw(chance)
            yield Outgoing(topic, m.key, m.value, {}, 0, m.timestamp_ms)


def test_in_the_stream_each_becomes_a_dead_letter_and_the_next_record_passes(tmp_path: Path) -> None:
    broker = MemoryBroker({IN: 1, FEEDBACK: 1, VECTORS: 1, f"{IN}.dlq": 1, f"{FEEDBACK}.dlq": 1})
    source, publisher = MemorySource(broker, "encode", [IN, FEEDBACK]), MemoryPublisher(broker)
    stage = EncodeStage(encoder_set(), 1, FEEDBACK)
    loop = Loop(source, stage, AtLeastOnce(source, publisher), Limits(ROUND + 1, 0.0, 10**9))
    odd = inputs(tmp_path)
    sent = 0
    for n in range(ROUNDS):
        batch = [*islice(odd, ROUND), Outgoing(IN, f"good-{n}".encode(), orjson.dumps(signup()), {}, 0, NOW_MS)]
        publisher.publish(batch)
        sent += len(batch)
        while loop.turn():
            pass
    letters = broker.messages(f"{IN}.dlq") + broker.messages(f"{FEEDBACK}.dlq")
    assert sent / 2 < len(letters) < sent
    assert all(m.headers["dedup-reason"] for m in letters)
    assert not any(MARK.lower().encode() in m.headers["dedup-reason"].lower() for m in letters)
    passed = {m.key for m in broker.messages(VECTORS)}
    assert {f"good-{n}".encode() for n in range(ROUNDS)} <= passed


def test_in_the_matcher_each_is_rejected_and_the_next_vector_is_matched() -> None:
    encoders, store = encoder_set(), MemoryClusters()
    stage = build_match_stage(load_settings(), encoders, store, NoSnapshots())
    stage.assigned(0, 0)
    encode = EncodeStage(encoders, 1, FEEDBACK)
    made = result_of(encode, [message(signup(f"{MARK} {n}"), f"{MARK}-{n}", offset=n) for n in range(3)]).outgoing
    erased = result_of(encode, [message(None, f"{MARK}-9", offset=9)]).outgoing[0]
    seeds = {m.key: m.value for m in (*made, erased) if m.key is not None}
    draw, chance, offset = Draw(seeds, "msgpack", erased.headers), random.Random(SEED), 0
    refused = 0
    for n in range(ROUNDS // 2):
        (good,) = result_of(encode, [message(signup("Grace"), f"good-{n}", offset=100 + n)]).outgoing
        batch = [draw(chance) for _ in range(ROUND)]
        batch.append(Message(Position(VECTORS, 0, 0), good.key, good.value, NOW_MS, {}))
        placed = [replace(m, position=Position(VECTORS, 0, offset + i)) for i, m in enumerate(batch)]
        offset += len(batch)
        rejected = result_of(stage, placed).rejected
        stage.delivered()
        refused += len(rejected)
        assert all(r.reason and MARK.lower() not in r.reason.lower() for r in rejected)
        assert f"good-{n}" in store.known("default", [f"good-{n}"]).records
    assert refused > ROUNDS * ROUND / 4
