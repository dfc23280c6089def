"""A crowd, as placeholders and robots make it: more records that are all the same than a cluster may hold."""

import itertools
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from consumer.batch import MemoryPipeline
from consumer.profile import load_profile
from consumer.records import Outgoing
from consumer.settings import load_settings
from consumer.simulate import signups
from consumer.wiring import build_encoders

FULL, CROWD = 25, 70
IDS = [f"robot-{number:04d}" for number in Random(3).sample(range(10_000), CROWD)]
ROBOT = {"name": "Test Test", "city": "Berlin", "browser": "Chrome 126.0", "os": "Windows"}
Told = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def told() -> tuple[Told, Told]:
    """What is told of clusters and of pairs to decide, of a crowd that comes among three hundred others."""
    profile = load_profile("signup")
    settings = load_settings(None, {"matching.max_cluster_size": FULL})
    pipeline = MemoryPipeline(settings, build_encoders(settings, profile))
    people = [(person.id, person.value) for person in signups(300, 5)]
    crowd = [(robot, ROBOT) for robot in IDS]
    mixed = [record for pair in itertools.zip_longest(people, crowd) for record in pair if record is not None]
    pipeline.feed(
        [
            Outgoing(profile.input, record_id.encode(), orjson.dumps(value), timestamp_ms=1_700_000_000_000 + 1_000 * n)
            for n, (record_id, value) in enumerate(mixed)
        ]
    )
    topics = settings.topics.events, settings.topics.possible
    events, possible = ([orjson.loads(value)["data"] for value in pipeline.drain(topic)] for topic in topics)
    return events, possible


def test_of_each_that_is_left_out_a_person_is_asked_once(told: tuple[Told, Told]) -> None:
    events, possible = told
    inside = set(next(event["members"] for event in reversed(events) if set(IDS) & set(event["members"])))
    asked = {}
    for pair in possible:
        a, b = pair["evidence"]["a"], pair["evidence"]["b"]
        if a in IDS:
            asked[a, b] = pair["kind"]

    newcomers = [{a, b} - inside for (a, b), kind in asked.items() if kind == "found"]
    assert sorted(newcomers, key=sorted) == [{robot} for robot in sorted(set(IDS) - inside)]
