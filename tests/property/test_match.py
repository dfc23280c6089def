"""Laws of the match stage: what may not matter (batches, redelivery, order), and what a cluster is by definition."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import orjson
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.records import Cluster, Message, Position
from consumer.redo import Repair
from tests.factories import NOW_MS
from tests.match_runs import (
    PLENTY,
    TOPICS,
    by_id,
    clusters,
    contents,
    feed,
    new_stage,
    pairs,
    play,
    sets,
    sources,
    values,
    view_of,
)
from tests.match_streams import (
    ALL,
    CUTS,
    EXAMPLES,
    NEIGHBOURS,
    SCOPE,
    VECTORS,
    Again,
    Drop,
    Put,
    Step,
    delivered,
    encoded,
    encoders,
    inserts,
    last_versions,
    messages_of,
    streams,
)

CAPS = st.sampled_from([2, 3, ALL])
QUORA = st.sampled_from([0.0, 0.2, 0.5, 1.0])
REPAIRS = st.builds(Repair, st.sampled_from([0, 4, ALL]), st.integers(0, 2))


def _twins(*ids: str) -> list[Step]:
    return [Put(record_id, "john smith", "london", NOW_MS) for record_id in ids]


@EXAMPLES
@example(_twins("a", "b", "a", "c"), {3}, 1, ALL, 0.0, PLENTY)  # an update makes its record the younger of two equals
@given(streams(words=True), CUTS, NEIGHBOURS, CAPS, QUORA, REPAIRS)
def test_batching_never_changes_the_answer(
    steps: list[Step], cuts: set[int], k: int, max_size: int, quorum: float, repair: Repair
) -> None:
    single, batched = MemoryClusters(), MemoryClusters()
    one_by_one = play(steps, single, k=k, max_size=max_size, quorum=quorum, repair=repair)
    in_batches = play(steps, batched, cuts, k=k, max_size=max_size, quorum=quorum, repair=repair)

    assert values(in_batches, TOPICS.events) == values(one_by_one, TOPICS.events)
    assert values(in_batches, TOPICS.possible) == values(one_by_one, TOPICS.possible)
    assert contents(batched) == contents(single)
    states = [{m.key: m.value for m in sent if m.topic == TOPICS.clusters} for sent in (one_by_one, in_batches)]
    assert states[0] == states[1]


@EXAMPLES
@given(streams(again=False, words=True), CUTS, CUTS, st.data(), NEIGHBOURS)
def test_a_fresh_stage_goes_on_where_another_died(
    steps: list[Step], cuts: set[int], other_cuts: set[int], data: st.DataObject, k: int
) -> None:
    messages = delivered(messages_of(steps))
    died_at = data.draw(st.integers(0, len(messages)))
    undisturbed, store = MemoryClusters(), MemoryClusters()
    expected = values(play(steps, undisturbed, k=k))

    first = new_stage(store, k=k)
    first.assigned(0, len(messages))
    sent = feed(first, messages[:died_at], cuts)
    if died_at < len(messages):
        result_of(first, messages[died_at : died_at + 3])  # written, and neither sent nor acknowledged
    second = new_stage(store, k=k)
    assert second.assigned(0, len(messages)) == 0
    sent += feed(second, messages, other_cuts)

    assert by_id(values(sent)) == by_id(expected)
    assert view_of(values(sent, TOPICS.events)).gaps == []
    assert contents(store) == contents(undisturbed)


@EXAMPLES
@given(streams(words=True), CUTS, CUTS, st.data())
def test_redelivery_changes_nothing(
    steps: list[Step], cuts: set[int], other_cuts: set[int], data: st.DataObject
) -> None:
    messages = delivered(messages_of(steps))
    seen = data.draw(st.integers(0, len(messages)))
    back = data.draw(st.integers(0, seen))
    undisturbed, store = MemoryClusters(), MemoryClusters()
    expected = values(play(steps, undisturbed))

    stage = new_stage(store)
    stage.assigned(0, len(messages))
    sent = feed(stage, messages[:seen], cuts)
    assert feed(stage, messages[back:seen], other_cuts) == []
    sent += feed(stage, messages[seen:], cuts)

    assert sorted(values(sent)) == sorted(expected)
    assert contents(store) == contents(undisturbed)


@EXAMPLES
@given(inserts().flatmap(lambda steps: st.tuples(st.just(steps), st.permutations(steps))), CUTS)
def test_order_of_arrival_does_not_matter(orders: tuple[list[Put], list[Put]], cuts: set[int]) -> None:
    one, other = MemoryClusters(), MemoryClusters()
    play(orders[0], one)
    play(orders[1], other, cuts)

    assert clusters(one) == clusters(other)
    kept = [{c: _cluster(store, c).exemplar for c in clusters(store)} for store in (one, other)]
    assert kept[0] == kept[1]


@EXAMPLES
@given(streams(again=False), CUTS)
def test_what_was_erased_or_replaced_was_never_there(steps: list[Put | Drop], cuts: set[int]) -> None:
    store, never = MemoryClusters(), MemoryClusters()
    kept = last_versions(steps)
    stage = new_stage(store)
    messages = delivered(messages_of(steps))
    stage.assigned(0, len(messages))
    feed(stage, messages, cuts)
    play(kept, never)

    assert sets(store) == sets(never)
    assert pairs(store) == pairs(never)
    held = contents(store)
    assert held.get("records", {}).keys() == {step.id for step in kept}
    gone = {step.id for step in steps} - {step.id for step in kept}
    left = repr([held.get(name) for name in ("records", "assignments", "clusters", "members", "edges")])
    assert not [record_id for record_id in gone if f"'{record_id}'" in left]
    for scope in stage._partitions[0].scopes.values():
        assert not [record_id for record_id in gone if record_id in scope.index]
        assert len(scope.index) == len(kept)


@EXAMPLES
@given(streams(again=False), CUTS, CUTS, st.data())
def test_a_replay_of_a_compacted_topic_loses_nothing(
    steps: list[Put | Drop], cuts: set[int], other_cuts: set[int], data: st.DataObject
) -> None:
    """Compaction takes the vector a matcher has applied, before the matcher has met what replaced or erased it."""
    messages = delivered(messages_of(steps))
    died_at = data.draw(st.integers(0, len(messages)))
    undisturbed, store = MemoryClusters(), MemoryClusters()
    play(steps, undisturbed)

    first = new_stage(store)
    first.assigned(0, len(messages))
    sent = feed(first, messages[:died_at], cuts)
    last = {message.key: message.position.offset for message in messages}
    compacted = [message for message in messages if last[message.key] == message.position.offset]
    second = new_stage(store)
    second.assigned(0, len(messages))
    sent += feed(second, compacted, other_cuts)

    assert sets(store) == sets(undisturbed)
    assert pairs(store) == pairs(undisturbed)
    assert sources(store) == sources(undisturbed)  # not the births: an update that is all there is tells its own
    view = view_of(values(sent, TOPICS.events))
    assert view.gaps == []
    assert {cid: frozenset(members) for cid, members in view.clusters.items()} == clusters(store)


@EXAMPLES
@given(streams(again=False, words=True), CUTS, QUORA)
def test_a_rebuild_of_what_compaction_left_ends_with_the_same_clusters(
    steps: list[Step], cuts: set[int], quorum: float
) -> None:
    """Into an empty store: what people said holds again, and what an erasure took does not."""
    store, rebuilt = MemoryClusters(), MemoryClusters()
    messages = _to_the_end(new_stage(store, quorum=quorum), delivered(messages_of(steps)), cuts)
    last = {message.key: message.position.offset for message in messages}
    compacted = [message for message in messages if last[message.key] == message.position.offset]
    _to_the_end(new_stage(rebuilt, quorum=quorum), compacted, cuts)

    assert sets(rebuilt) == sets(store)
    assert contents(rebuilt).get("verdicts", {}) == contents(store).get("verdicts", {})


def _to_the_end(stage: MatchStage, messages: Sequence[Message], cuts: set[int]) -> list[Message]:
    """Feed messages and what the stage itself adds to their topic, until it adds nothing; all of them."""
    stage.assigned(0, messages[-1].position.offset + 1)
    log, news = list(messages), list(messages)
    while news:
        start = log[-1].position.offset + 1
        sent = [m for m in feed(stage, news, cuts) if m.topic == VECTORS]
        news = [replace(m, position=Position(VECTORS, 0, start + i)) for i, m in enumerate(delivered(sent))]
        log += news
    return log


@EXAMPLES
@given(streams(again=False), CUTS, st.data())
def test_a_late_copy_changes_nothing(steps: list[Step], cuts: set[int], data: st.DataObject) -> None:
    """A copy keeps the input position it was made from, which is not newer than what is known of its record."""
    copies = data.draw(st.lists(st.integers(0, len(steps) - 1), max_size=5))
    store, with_copies = MemoryClusters(), MemoryClusters()
    expected = play(steps, store)
    sent = play([*steps, *(Again(i) for i in copies)], with_copies, cuts)

    assert values(sent, TOPICS.events) == values(expected, TOPICS.events)
    told = {"sequence": None}  # what stands is said again to the vectors topic
    assert contents(with_copies) | told == contents(store) | told


@EXAMPLES
@given(streams(words=True), CUTS, NEIGHBOURS, CAPS, QUORA)
def test_the_events_alone_tell_the_clusters(
    steps: list[Step], cuts: set[int], k: int, max_size: int, quorum: float
) -> None:
    store = MemoryClusters()
    sent = values(play(steps, store, cuts, k=k, max_size=max_size, quorum=quorum), TOPICS.events)
    view = view_of(sent)

    assert view.gaps == []
    assert view.assignments == contents(store).get("assignments", {})
    assert {cid: frozenset(members) for cid, members in view.clusters.items()} == clusters(store)
    versions: dict[str, list[int]] = {}
    for event in map(orjson.loads, sent):
        versions.setdefault(event["data"]["cluster_id"], []).append(event["data"]["version"])
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())
    ended = store.clusters(SCOPE, list(versions))
    assert {cid: cluster.version for cid, cluster in ended.items()} == {cid: seen[-1] for cid, seen in versions.items()}


@EXAMPLES
@given(streams(again=False) | inserts(cities=["madrid", "madrit", "london"], max_size=16), CUTS)
def test_clusters_are_those_of_dbscan(stream: list[Put | Drop], cuts: set[int]) -> None:
    """After inserts, updates and erasures in any order, of what is left of them."""
    store = MemoryClusters()
    play(stream, store, cuts)

    steps = last_versions(stream)
    made, spec = encoders(), encoders().profile.fusion
    assume(steps and all(step.city is not None for step in steps))  # else the cosine is not that of the whole vector
    rows = [replace(encoded(s.name, s.city), id=s.id) for s in steps]
    vectors = np.stack([v.values for v in made.encode(rows)]).astype(np.float64)
    scores = vectors @ vectors.T
    assume(np.abs(scores - spec.duplicate).min() > 1e-3)  # a score on the threshold is a matter of rounding
    found = DBSCAN(eps=1 - spec.duplicate, min_samples=2, metric="precomputed").fit(np.clip(1 - scores, 0, None))
    labelled: Mapping[int, set[str]] = {int(label): set() for label in found.labels_ if label >= 0}
    for step, label in zip(steps, found.labels_, strict=True):
        if label >= 0:
            labelled[int(label)].add(step.id)
    assert sets(store) == {frozenset(members) for members in labelled.values()}


def _cluster(store: MemoryClusters, cluster_id: str) -> Cluster:
    cluster = store.clusters(SCOPE, [cluster_id])[cluster_id]
    assert isinstance(cluster, Cluster)
    return cluster
