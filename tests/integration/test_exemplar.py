"""The record to keep through the whole pipeline: what events say of it, and that it is always the one the rule names."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.batch import MemoryPipeline
from consumer.decode import decode
from consumer.evaluation import EventView
from consumer.exemplar import Keeper
from consumer.records import Cluster, Floats, Outgoing, Record
from consumer.settings import Settings, load_settings
from consumer.simulate import signups
from tests.factories import NOW_MS, encoder_set, message, signup

ENCODERS = encoder_set()


class Stream:
    """Both stages over memory, fed record by record, and the cluster events they sent."""

    def __init__(self, **overrides: object) -> None:
        self.settings: Settings = load_settings(overrides={"log.level": "error", **overrides})
        self.store = MemoryClusters()
        self.events: list[dict[str, Any]] = []
        self._pipeline = MemoryPipeline(self.settings, ENCODERS, self.store)
        self._sent = 0

    def send(self, record_id: str, value: Mapping[str, object] | None) -> list[dict[str, Any]]:
        """The data of the cluster events that one message leads to."""
        self._sent += 1
        content = None if value is None else orjson.dumps(value)
        self._pipeline.feed([Outgoing("persons", record_id.encode(), content, {}, None, NOW_MS + self._sent)])
        events = [orjson.loads(event) for event in self._pipeline.drain(self.settings.topics.events)]
        self.events += events
        return [event["data"] for event in events]


def told(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, str | None]]:
    return [(data["kind"], data["version"], data["record_to_keep"]) for data in events]


def test_the_change_of_the_record_to_keep_is_an_event_of_its_own() -> None:
    stream = Stream()
    stream.send("r1", signup("Maximilian Featherstone", browser=None))
    assert told(stream.send("r2", signup("Maximilien Fethersten"))) == [("created", 1, "r2")], "the better quality"
    joined, changed = stream.send("r3", signup("Maximilian Featherstone", browser=None))
    assert told([joined, changed]) == [("joined", 2, "r1"), ("exemplar_changed", 3, "r1")], "two that agree, the older"
    assert (changed["previous_record_to_keep"], changed["added"], changed["removed"]) == ("r2", [], [])
    assert told(stream.send("r1", signup("Maximilian Featherstone", browser=None))) == [("updated", 4, "r1")], "no news"
    better = stream.send("r3", signup("Maximilian Featherstone"))
    assert told(better) == [("updated", 5, "r3"), ("exemplar_changed", 6, "r3")]
    assert better[1]["previous_record_to_keep"] == "r1"
    gone = stream.send("r3", None)
    assert told(gone) == [("left", 7, "r2"), ("exemplar_changed", 8, "r2")]
    assert told(stream.send("r2", None)) == [("dissolved", 9, None)]


def test_with_alpha_0_quality_alone_decides() -> None:
    stream = Stream(**{"matching.exemplar_alpha": 0})
    stream.send("r1", signup("Maximilian Featherstone", browser=None))
    stream.send("r2", signup("Maximilien Fethersten"))
    assert told(stream.send("r3", signup("Maximilian Featherstone", browser=None))) == [("joined", 2, "r2")]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_record_to_keep_is_always_the_one_the_rule_names(seed: int) -> None:
    stream, chance = Stream(), random.Random(seed)
    now: dict[str, Mapping[str, object]] = {}
    for one in signups(250, seed, duplicate_share=0.7):
        now[one.id] = one.value
        stream.send(one.id, one.value)
        other = chance.choice(list(now))
        if chance.random() < 0.2:
            now[other] = {**now[other], "browser": None}
            stream.send(other, now[other])
        elif chance.random() < 0.1:
            del now[other]
            stream.send(other, None)
    keep = Keeper(0.7, rows_of(now))
    view = EventView()
    for event in stream.events:
        view.apply(event)
    found = stream.store.clusters("default", sorted(view.clusters))
    assert len(found) > 20
    for cluster in found.values():
        assert isinstance(cluster, Cluster)
        assert cluster.exemplar == keep(cluster.members)
    assert view.gaps == []
    assert_told_when_it_changes(stream.events)


def rows_of(values: Mapping[str, Mapping[str, object]]) -> Any:
    """The vectors of records, as they would be encoded one by one."""
    records = [decode(message(value, record_id), ENCODERS.profile) for record_id, value in values.items()]
    vectors = ENCODERS.encode([record for record in records if isinstance(record, Record)])
    rows = {vector.id: vector.values.astype(np.float32) for vector in vectors}

    def vectors_of(ids: Sequence[str]) -> Floats:
        return np.stack([rows[record_id] for record_id in ids])

    return vectors_of


def assert_told_when_it_changes(events: Sequence[Mapping[str, Any]]) -> None:
    """`exemplar_changed` comes right after the event that first names another record to keep, and only then."""
    kept: dict[str, str] = {}
    due: dict[str, str] = {}
    seen = 0
    for data in (event["data"] for event in events):
        cid, keep, kind = data["cluster_id"], data["record_to_keep"], data["kind"]
        if kind == "exemplar_changed":
            seen += 1
            assert data["previous_record_to_keep"] == due.pop(cid)
            assert keep == kept[cid]
            continue
        assert due == {}, "it was due"
        if keep is not None and kept.get(cid, keep) != keep:
            due[cid] = kept[cid]
        if keep is not None:
            assert keep in data["members"]
            kept[cid] = keep
    assert due == {}
    assert seen > 5
