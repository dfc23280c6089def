"""Every kind of difference is found, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from consumer.records import Cluster, Message, OutboxEntry, RecordState, Retired, Vector
from consumer.recovery.contents import Contents
from consumer.recovery.present import Present
from consumer.recovery.told import Told
from consumer.recovery.verification import (
    KINDS,
    Difference,
    beside_each_other,
    beside_index,
    beside_told,
    beside_vectors,
    inner,
)
from consumer.rows import Row
from consumer.vectors import unpack
from tests.factories import NOW_MS, position
from tests.match_runs import TOPICS, new_index
from tests.match_streams import SCOPE, VECTORS, Drop, Put, Step, Tell, encoders
from tests.property.test_restoration import World, told

LIFE: list[Step] = [
    *(Put(f"r{i}", "john smith", "london", NOW_MS + i) for i in range(3)),
    *(Put(f"q{i}", "li wei", "madrid", NOW_MS + i) for i in range(3)),
    Put("alone", "maria garcia", None, NOW_MS),
    Tell("q0", "r0", "different"),
    Put("gone", "john smith", "london", NOW_MS + 9),
    Drop("gone"),
]


@pytest.fixture
def world() -> World:
    made = World(LIFE)
    made.run()
    return made


def differences(world: World, held: Contents, said: Told | None = None, **more: bool) -> set[Difference]:
    said = told(world.broker.messages(TOPICS.clusters), world.broker.messages(TOPICS.events)) if said is None else said
    present = folded(world, held.applied.get(0, -1))
    pending = [entry.key for entry in held.outbox]
    return {
        *inner(SCOPE, held),
        *beside_told(SCOPE, held, said.of(SCOPE)),
        *beside_each_other(said, pending, complete=more.get("complete", True), repeats=more.get("repeats", False)),
        *beside_vectors(SCOPE, held, present, 0),
    }


def folded(world: World, applied: int) -> Present:
    made = encoders()
    present = Present({SCOPE: applied}, world.committed)
    for message in world.broker.messages(VECTORS):
        present.take(Row(unpack(message, made.fingerprint, made.layout.dim), message.position))
    return present


def of_john(held: Contents) -> str:
    return held.assignments["r0"]


def _without_record(held: Contents) -> None:
    del held.records["alone"]


def _with_record(held: Contents) -> None:
    held.records["ghost"] = RecordState(position(1), 0, 0.0)


def _of_another_message(held: Contents) -> None:
    held.records["alone"] = replace(held.records["alone"], source=position(77))


def _unassigned(held: Contents) -> None:
    del held.assignments["r1"]


def _one_way(held: Contents) -> None:
    del held.edges["r1"]["r0"]


def _half_said(held: Contents) -> None:
    held.verdicts["q0"] = {}


def _stray(held: Contents) -> None:
    held.strays.append("members:c0")


def _older(held: Contents) -> None:
    found = held.clusters[of_john(held)]
    held.clusters[of_john(held)] = replace(found, version=found.version - 1)


def _kept_other(held: Contents) -> None:
    found = held.clusters[of_john(held)]
    assert isinstance(found, Cluster)
    held.clusters[of_john(held)] = replace(found, exemplar="r2" if found.exemplar != "r2" else "r1")


def _ended(held: Contents) -> None:
    for record_id in ("r0", "r1", "r2"):
        cid = held.assignments.pop(record_id)
    held.clusters[cid] = Retired(9, None)


def _forgotten(held: Contents) -> None:
    for record_id in ("r0", "r1", "r2"):
        cid = held.assignments.pop(record_id)
    del held.clusters[cid]


def _new(held: Contents) -> None:
    found = held.clusters[of_john(held)]
    assert isinstance(found, Cluster)
    held.clusters["c-new"] = replace(found, id="c-new", members={}, exemplar="")


def _behind(held: Contents) -> None:
    held.applied[0] -= 4


HARMS: list[tuple[Callable[[Contents], None], set[str]]] = [
    (_without_record, {"vector_without_record"}),
    (_with_record, {"record_without_vector"}),
    (_of_another_message, {"record_of_another_message"}),
    (_unassigned, {"assignment"}),
    (_one_way, {"edge"}),
    (_half_said, {"word"}),
    (_stray, {"stray"}),
    (_older, {"told_otherwise"}),
    (_kept_other, {"told_otherwise"}),
    (_ended, {"told_otherwise"}),
    (_forgotten, {"told_only"}),
    (_new, {"told_nothing", "cluster"}),
    (_behind, {"applied_behind"}),
]


def test_a_sound_store_has_no_difference(world: World) -> None:
    assert differences(world, world.store.contents(0)[SCOPE]) == set()


@pytest.mark.parametrize(("harm", "kinds"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
def test_a_harm_is_found(world: World, harm: Callable[[Contents], None], kinds: set[str]) -> None:
    held = world.store.contents(0)[SCOPE]
    harm(held)
    found = {difference.kind for difference in differences(world, held)}
    assert found >= kinds
    assert found <= {*kinds, "told_otherwise", "member", "edge", "cluster", "record_without_vector"}
    assert found <= KINDS.keys()


def test_what_waits_in_the_outbox_is_no_difference(world: World) -> None:
    held = world.store.contents(0)[SCOPE]
    _older(held)
    held.outbox.append(OutboxEntry("events", of_john(held), b"", 0))
    assert differences(world, held) == set()


def test_an_event_that_comes_twice_is_one_where_delivery_is_exactly_once_only(world: World) -> None:
    events: list[Message] = world.broker.messages(TOPICS.events)
    said = told(world.broker.messages(TOPICS.clusters), [*events, events[-1]])
    held = world.store.contents(0)[SCOPE]
    assert {d.kind for d in differences(world, held, said)} == {"event_repeated"}
    assert differences(world, held, said, repeats=True) == set()


def test_missing_events_are_gaps_unless_they_may_have_been_dropped(world: World) -> None:
    events = world.broker.messages(TOPICS.events)
    held, clusters = world.store.contents(0)[SCOPE], world.broker.messages(TOPICS.clusters)
    cut = told(clusters, [e for e in events if b'"version":1,' not in (e.value or b"")])
    assert {d.kind for d in differences(world, held, cut)} == {"event_gap"}
    assert differences(world, held, cut, complete=False) == set()
    behind = told(clusters[:-1], events)
    assert {d.kind for d in differences(world, held, behind)} <= {"state_behind_events"}


def test_an_index_that_is_another_is_found(world: World) -> None:
    present, index = folded(world, world.end), new_index()
    made = encoders()
    items = [unpack(m, made.fingerprint, made.layout.dim) for m in world.broker.messages(VECTORS)]
    vectors = {v.id: v for v in items if isinstance(v, Vector) and v.id != "gone"}
    for v in vectors.values():
        index.add([v.id], v.values[None].astype("float32"), [v.mask])
    assert list(beside_index(SCOPE, index, present)) == []
    index.add(["alone"], vectors["r0"].values[None].astype("float32"), [3])
    index.remove(["r1"])
    found = {(d.subject, d.detail) for d in beside_index(SCOPE, index, present)}
    assert found == {("alone", "another vector"), ("r1", "not in the index")}
    index.add(["more", "r1"], vectors["r1"].values[None].repeat(2, 0).astype("float32"), [3, 3])
    assert [d.subject for d in beside_index(SCOPE, index, present)] == ["alone", ""]
