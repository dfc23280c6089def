"""A store that was lost and is made again from the topics: it holds what it held, and the stream goes on as if nothing was."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.delivery import AtLeastOnce
from consumer.fusion import WeightedFusion
from consumer.fusion_spec import WeightedSpec
from consumer.loop import Limits, Loop
from consumer.records import Message, Position
from consumer.recovery.contents import Contents
from consumer.recovery.present import Present
from consumer.recovery.rebuild import farewells
from consumer.recovery.restoration import Identity, Restoration, restoration
from consumer.recovery.told import Told
from consumer.recovery.vectors_replay import Models, VectorsReplay
from consumer.recovery.verification import beside_each_other, beside_told, beside_vectors, inner
from consumer.rows import Row
from consumer.vectors import unpack
from tests.factories import KEY
from tests.match_runs import TOPICS, by_id, new_stage, view_of
from tests.match_streams import SCOPE, VECTORS, Drop, Put, Step, Tell, encoders, messages_of, streams
from tests.property.test_rebuild import compacted

EXAMPLES = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LIMITS = Limits(batch_records=3, poll_seconds=0.0, consecutive_rejects=1)
PROFILE = "person"
IDENTITY = Identity(PROFILE, VECTORS, 1, [KEY], 0)


class World:
    """A broker that outlives its matchers and their store."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.broker = MemoryBroker({VECTORS: 1, TOPICS.events: 1, TOPICS.clusters: 1, TOPICS.possible: 1})
        self.store = MemoryClusters()
        self.fusion: WeightedFusion | None = None
        self.generation = ""
        self.send(steps)

    def send(self, steps: Sequence[Step], skip: int = 0) -> None:
        MemoryPublisher(self.broker).publish(messages_of(steps)[skip:])

    def run(self, turns: int | None = None) -> None:
        """A new matcher, until nothing is left to do or for some batches."""
        stage = new_stage(self.store, fusion=self.fusion)
        stage.mint_with(self.generation)
        source = MemorySource(
            self.broker, "match", [VECTORS], lambda came: {p: stage.assigned(p[1], self.end) for p in came}
        )
        loop = Loop(source, stage, AtLeastOnce(source, MemoryPublisher(self.broker)), LIMITS)
        # an idle turn may send a tick, which the next one reads
        while (loop.turn() or loop.turn()) and turns != 1:
            turns = None if turns is None else turns - 1
        source.close()

    def hand_over(self) -> None:
        """The store of the models of before is left behind; all of the topic counts as decided."""
        self.broker.group("match").committed[VECTORS, 0] = self.end
        self.lose_and_restore(self.broker.messages(VECTORS), self.broker.messages(TOPICS.clusters))

    @property
    def end(self) -> int:
        return self.broker.log((VECTORS, 0)).end

    @property
    def committed(self) -> int:
        return self.broker.group("match").committed.get((VECTORS, 0), 0)

    @property
    def events(self) -> list[bytes]:
        return [m.value or b"" for m in self.broker.messages(TOPICS.events)]

    def states(self) -> dict[bytes | None, bytes | None]:
        return {m.key: m.value for m in self.broker.messages(TOPICS.clusters)}

    def lose_and_restore(self, vectors: Sequence[Message], clusters: Sequence[Message]) -> Restoration:
        made = restored(vectors, self.committed, told(clusters, self.broker.messages(TOPICS.events)), self.fusion)
        self.store = MemoryClusters()
        made.write(self.store, 0)
        return made


def told(clusters: Sequence[Message], events: Sequence[Message]) -> Told:
    found = Told(PROFILE)
    for message in clusters:
        found.state(message)
    for message in events:
        found.event(message)
    return found


def restored(
    vectors: Sequence[Message], committed: int, said: Told, fusion: WeightedFusion | None = None
) -> Restoration:
    models = Models(encoders().fingerprint, encoders().layout.dim)
    replay = VectorsReplay(0, partial(new_stage, fusion=fusion), MemoryClusters(), models)
    replay.feed(m for m in vectors if m.position.offset < committed)
    return restoration(IDENTITY, replay.finish(committed, (m for m in vectors if m.position.offset >= committed)), said)


def whole(store: MemoryClusters) -> Contents:
    """What is there of the scope; nothing, as long as no record of it came."""
    return store.contents(0).get(SCOPE, Contents())


def content(store: MemoryClusters) -> dict[str, Any]:
    """What a scope holds, apart from the offset, which says less than the group's, and from marks of erased records."""
    names = ("records", "assignments", "clusters", "edges", "verdicts", "redo", "beliefs")
    return {name: getattr(whole(store), name) for name in names}


def marks(store: MemoryClusters) -> set[tuple[str, Position]]:
    found = whole(store)
    return {mark for mark in found.erased.items() if mark[0] not in found.records}


@EXAMPLES
@given(streams(words=True), streams(words=True), st.integers(1, 9))
def test_a_restored_store_holds_what_was_lost_and_the_stream_goes_on(
    before: list[Step], after: list[Step], turns: int
) -> None:
    """Wherever the matcher was when its store was lost; with all of the topics still there."""
    steps = [*before, *after]
    undisturbed, world = World(steps), World(steps)
    undisturbed.run()
    world.run(turns)
    lost, erased = content(world.store), marks(world.store)
    made = world.lose_and_restore(world.broker.messages(VECTORS), world.broker.messages(TOPICS.clusters))
    assert content(world.store) == lost
    assert marks(world.store) == erased
    assert [(s.differing, s.lost, s.owed) for s in made.scopes.values() if s.differing or s.lost or s.owed] == []
    world.run()
    assert content(world.store) == content(undisturbed.store)
    assert by_id(world.events) == by_id(undisturbed.events)
    assert len(world.events) == len(undisturbed.events)
    assert world.states() == undisturbed.states()


def consistent(world: World, vectors: Sequence[Message]) -> None:
    """The store agrees with itself, with what was told, and with the vectors; nothing was told twice or skipped."""
    said = told(world.broker.messages(TOPICS.clusters), world.broker.messages(TOPICS.events))
    held = whole(world.store)
    present = Present({SCOPE: held.applied.get(0, -1)}, world.committed)
    models = encoders().fingerprint, encoders().layout.dim
    for message in vectors:
        present.take(Row(unpack(message, *models), message.position))
    differences = [
        *inner(SCOPE, held),
        *beside_told(SCOPE, held, said.of(SCOPE)),
        *beside_each_other(said, [], complete=True, repeats=False),
        *beside_vectors(SCOPE, held, present, 0),
    ]
    assert differences == []
    assert view_of(world.events).gaps == []
    by_id(world.events)
    assert not held.redo
    assert not held.outbox


def word_on_the_erased(steps: Sequence[Step], cut: int) -> bool:
    """Whether a word after the cut is on a record that was erased before it and comes again: the null value is gone by then.

    Such a word counts for nothing, but a store that is made again cannot know that.
    """
    erased = {step.id for step in steps[:cut] if isinstance(step, Drop)}
    return any(isinstance(step, Tell) and {step.a, step.b} & erased for step in steps[cut:])


def groups(world: World) -> set[frozenset[str]]:
    return {frozenset(c.members) for c in whole(world.store).live.values()}


@EXAMPLES
@given(streams(words=True, again=False), streams(words=True, again=False), st.integers(1, 9))
def test_what_compaction_leaves_is_enough(before: list[Step], after: list[Step], turns: int) -> None:
    """Ids and versions go on from what was told, and in the end clusters are what they would have been."""
    steps = [*before, *after]
    assume(not word_on_the_erased(steps, turns * LIMITS.batch_records))
    undisturbed, world = World(steps), World(steps)
    undisturbed.run()
    world.run(turns)
    versions = world.states()
    left = compacted(world.broker.messages(VECTORS), tombstones=True)
    world.lose_and_restore(left, compacted(world.broker.messages(TOPICS.clusters), tombstones=True))
    assert world.states() == versions
    world.run()
    consistent(world, compacted(world.broker.messages(VECTORS), tombstones=True))
    assert groups(world) == groups(undisturbed)


@EXAMPLES
@given(streams(words=True), st.integers(1, 6), st.data())
def test_a_batch_that_was_told_in_part_is_told_to_the_end(steps: list[Step], turns: int, data: st.DataObject) -> None:
    """Delivery at least once, and a crash between the first event of a batch and its commit; then the store is lost."""
    world = World(steps)
    world.run(turns)
    committed = world.committed
    before = [world.broker.log((topic, 0)).end for topic in (TOPICS.events, TOPICS.clusters)]
    world.run(1)
    events, states = (world.broker.log((topic, 0)).messages for topic in (TOPICS.events, TOPICS.clusters))
    while len(events) > before[0] and data.draw(st.booleans()):
        events.pop()
        while len(states) > before[1]:
            states.pop()
    while len(states) > before[1] and data.draw(st.booleans()):
        states.pop()
    world.broker.group("match").committed[VECTORS, 0] = committed
    world.lose_and_restore(world.broker.messages(VECTORS), world.broker.messages(TOPICS.clusters))
    world.run()
    consistent(world, world.broker.messages(VECTORS))


def strict() -> WeightedFusion:
    """Other models: of the same vectors they think otherwise."""
    spec = encoders().profile.fusion
    assert isinstance(spec, WeightedSpec)
    return WeightedFusion(encoders().layout, spec.model_copy(update={"duplicate": 0.97}))


@EXAMPLES
@given(streams(words=True, again=False), streams(words=True, again=False), st.integers(1, 9))
def test_other_models_take_over_and_give_back(before: list[Step], after: list[Step], turns: int) -> None:
    """Each time all of the topic counts as decided, also what the models before had not come to."""
    first, steps = len(messages_of(before)), [*before, *after]
    world, others, same = World(before), World(steps), World(steps)
    others.fusion = strict()
    others.run()
    same.run()
    world.run(turns)
    world.fusion = strict()
    ids = held_ids(world)
    world.hand_over()
    assert held_ids(world) == ids  # nobody is told anything by the hand-over itself
    world.send(steps, skip=first)
    world.run()
    consistent(world, world.broker.messages(VECTORS))
    assert groups(world) == groups(others)
    world.fusion = None
    world.hand_over()
    world.run()
    consistent(world, world.broker.messages(VECTORS))
    assert groups(world) == groups(same)


def held_ids(world: World) -> dict[str, tuple[int, frozenset[str]]]:
    """What is told of clusters: their ids, versions and members."""
    said = told(world.broker.messages(TOPICS.clusters), world.broker.messages(TOPICS.events)).of(SCOPE)
    return {cid: (cluster.version, frozenset(cluster.members)) for cid, cluster in said.items() if cluster.live}


@EXAMPLES
@given(streams(words=True))
def test_members_whose_vectors_are_gone_stay_as_told_until_they_are_let_go(steps: list[Step]) -> None:
    world = World([*(Put(twin, "ida novak", "oslo", 0) for twin in ("left", "right")), *steps])
    world.run()
    missing = min(r for group in groups(world) for r in group)
    vectors = [m for m in world.broker.messages(VECTORS) if m.key != missing.encode()]
    ids = held_ids(world)
    made = world.lose_and_restore(vectors, world.broker.messages(TOPICS.clusters))
    assert made.scopes[SCOPE].lost == [missing]
    assert held_ids(world) == ids
    assert missing in whole(world.store).assignments
    MemoryPublisher(world.broker).publish(farewells(VECTORS, made))
    world.run()
    consistent(world, [m for m in world.broker.messages(VECTORS) if m.key != missing.encode() or m.value is None])
    assert missing not in whole(world.store).records


@pytest.mark.parametrize(("generation", "used_twice"), [("", True), ("7", False)])
def test_no_id_is_used_twice_even_where_the_topics_forgot_it(generation: str, *, used_twice: bool) -> None:
    """Of a cluster that ended, compaction and retention leave nothing: the ids of a new generation cannot be its."""
    twins: list[Step] = [Put(twin, "ida novak", "oslo", born) for born, twin in enumerate(("left", "right"))]
    steps: list[Step] = [*twins, Drop("right")]
    world = World(steps)
    world.run()
    left = compacted(world.broker.messages(TOPICS.clusters), tombstones=False)
    assert left == []
    made = restored(world.broker.messages(VECTORS), world.committed, told(left, []))
    world.store, world.generation = MemoryClusters(), generation
    made.write(world.store, 0)
    world.send([*steps, twins[1]], skip=len(steps))
    world.run()
    ids = [orjson.loads(event)["id"] for event in world.events]
    assert (len(ids) != len(set(ids))) == used_twice
