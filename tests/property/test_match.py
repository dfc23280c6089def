"""Laws of the match stage: what may not matter (batches, redelivery, order), and what a cluster is by definition.

Records are encoded for real; search is exact. `Put`, `Drop`, `Tell` and `Again` write a stream, `play` runs it through a
stage.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.decisions import Policy
from consumer.encode import EncoderSet
from consumer.evaluation import EventView
from consumer.fusion import Fusion, WeightedFusion
from consumer.fusion_spec import WeightedSpec
from consumer.loop import Result, result_of
from consumer.match import MatchStage
from consumer.match_settings import MatchSettings
from consumer.merging import MergeRules
from consumer.names import scope_partition
from consumer.outbox import MatchTopics
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex
from consumer.records import Cluster, Erasure, FieldValue, Message, Outgoing, Position, Record, Saying, Verdict
from consumer.redo import Repair
from consumer.vectors import pack_erasure, pack_vector, pack_verdict
from tests.factories import KEY, NOW_MS, encoder_set, person_profile

VECTORS = "vectors"
TOPICS = MatchTopics("events", "clusters", "possible")
SCOPE = "default"
ALL = 1_000
"""More neighbours, or members, than any stream has records: no cut, no cap."""
PLENTY = Repair(ALL, 2)
OPTIONS = HnswOptions()
EXAMPLES = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


# --- streams -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Put:
    """A record arrives, or arrives again."""

    id: str
    name: str
    city: str | None
    born_ms: int
    scope: str = SCOPE


@dataclass(frozen=True, slots=True)
class Drop:
    """A record is erased."""

    id: str


@dataclass(frozen=True, slots=True)
class Again:
    """The message of an earlier step once more, as an encoder that crashed before its commit sends it."""

    step: int


@dataclass(frozen=True, slots=True)
class Tell:
    """A person says something of two records."""

    a: str
    b: str
    says: Saying
    scope: str = SCOPE


Step = Put | Drop | Tell | Again


@cache
def encoders() -> EncoderSet:
    profile = person_profile(
        modalities={
            "name": {"encoder": "lexical", "fields": ["name"], "dim": 32, "weight": 0.7},
            "city": {"encoder": "lexical", "fields": ["city"], "dim": 16, "weight": 0.3},
        },
        fusion={"duplicate": 0.8, "possible": 0.55, "slope": 20, "min_evidence": 0.7},
        quality={"completeness": {"fields": {"name": 2 / 3, "city": 1 / 3}}},
    )
    return encoder_set(profile)


@cache
def _encoded(name: str, city: str | None) -> Record:
    fields: dict[str, FieldValue] = {"name": name} if city is None else {"name": name, "city": city}
    return Record("", SCOPE, fields, 0, Position("persons", 0, 0), 0)


def messages_of(steps: Sequence[Step], partitions: int = 1) -> list[Outgoing]:
    """What the encode stage sends for the steps; step i is message i of the input topic."""
    made: list[list[Outgoing]] = []
    for i, step in enumerate(steps):
        source, ingested_ms = Position("persons", 0, i), NOW_MS + 1_000 * i
        if isinstance(step, Again):
            made.append(made[step.step % i] if i else [])
        elif isinstance(step, Drop):
            made.append([pack_erasure(Erasure(step.id, source, ingested_ms), VECTORS, p) for p in range(partitions)])
        elif isinstance(step, Tell):
            said = Position("feedback", 0, i)
            word = Verdict(step.a, step.b, step.says, "steward", ingested_ms, step.scope, said, ingested_ms)
            made.append([pack_verdict(word, VECTORS, scope_partition(step.scope, partitions))])
        else:
            record = replace(
                _encoded(step.name, step.city),
                id=step.id,
                scope=step.scope,
                born_ms=step.born_ms,
                source=source,
                ingested_ms=ingested_ms,
            )
            (vector,) = encoders().encode([record])
            made.append([pack_vector(vector, VECTORS, scope_partition(step.scope, partitions))])
    return [message for step_messages in made for message in step_messages]


def delivered(outgoing: Iterable[Outgoing]) -> list[Message]:
    """Messages of one partition as a source hands them out."""
    return [
        Message(Position(m.topic, 0, offset), m.key, m.value, m.timestamp_ms or 0, m.headers)
        for offset, m in enumerate(outgoing)
    ]


NAMES = ["maria garcia", "mario garcia", "maria garcia lopez", "marian garcía", "john smith", "jon smith", "li wei"]
CITIES = ["madrid", "madrid", "madrit", "london", None]


def _lives(
    people: st.SearchStrategy[tuple[str, str | None]], n_ids: int, *, again: bool, words: bool
) -> st.SearchStrategy[Any]:
    ids = st.sampled_from([f"r{i}" for i in range(n_ids)])
    puts = st.builds(
        lambda record_id, person, born: Put(record_id, person[0], person[1], NOW_MS + born),
        ids,
        people,
        st.integers(0, 5),
    )
    steps: list[st.SearchStrategy[Any]] = [puts, puts, puts, st.builds(Drop, ids)]
    if words:
        pairs = st.lists(ids, min_size=2, max_size=2, unique=True).map(sorted)
        says: st.SearchStrategy[Saying] = st.sampled_from(["same", "different", "undecided"])
        steps.append(st.builds(lambda pair, word: Tell(pair[0], pair[1], word), pairs, says))
    if again:
        steps.append(st.builds(Again, st.integers(0, 24)))
    return st.lists(st.one_of(steps), min_size=2, max_size=24)


def streams(*, again: bool = True, words: bool = False) -> st.SearchStrategy[Any]:
    """Inserts, updates and erasures of a few records: of many people, or of two, so that all are ties."""
    many = st.tuples(st.sampled_from(NAMES), st.sampled_from(CITIES))
    two = st.sampled_from([("john smith", "london"), ("jon smith", "london")])
    return _lives(many, 8, again=again, words=words) | _lives(two, 5, again=again, words=words)


def inserts(cities: Sequence[str | None] = CITIES, max_size: int = 12) -> st.SearchStrategy[list[Put]]:
    """Records that come once, each born at a time of its own."""
    one = st.tuples(st.sampled_from(NAMES), st.sampled_from(cities))
    return st.lists(one, min_size=2, max_size=max_size).flatmap(
        lambda people: st.permutations(range(len(people))).map(
            lambda births: [Put(f"r{i}", *people[i], NOW_MS + births[i]) for i in range(len(people))]
        )
    )


# --- runs --------------------------------------------------------------------------------------------------------------


def new_index(exact_below: int = 10_000) -> GrowingIndex:
    return GrowingIndex(encoders().layout.dim, exact_below, OPTIONS)


def load_index(folder: Path, exact_below: int = 10_000) -> GrowingIndex:
    return GrowingIndex.load(folder, encoders().layout.dim, exact_below, OPTIONS)


def new_stage(
    store: ClusterStore,
    snapshots: SnapshotStore | None = None,
    index: Callable[[], VectorIndex] = new_index,
    *,
    k: int = ALL,
    max_size: int = ALL,
    quorum: float = 0.0,
    repair: Repair = PLENTY,
    snapshot_records: int = 1_000_000,
    fusion: Fusion | None = None,
    position: Callable[[int], int | None] = lambda _: None,
    committed: Callable[[int], int] = lambda _: 0,
    now_ms: Callable[[], int] = lambda: NOW_MS,
    **more: Any,
) -> MatchStage:
    made = encoders()
    policy = Policy(MergeRules(max_size, quorum, k), repair, exemplar_alpha=0.7)
    chosen = MatchSettings(
        made.profile.name, VECTORS, made.fingerprint, KEY, TOPICS, k, policy, snapshot_records, **more
    )
    spec = made.profile.fusion
    assert isinstance(spec, WeightedSpec)
    decides = WeightedFusion(made.layout, spec) if fusion is None else fusion
    kept = NoSnapshots() if snapshots is None else snapshots
    return MatchStage(chosen, decides, store, kept, index, position, committed, now_ms)


def batches(messages: Sequence[Message], cuts: Iterable[int]) -> Iterator[Sequence[Message]]:
    """The messages, cut before each of the places in `cuts`."""
    places = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    return (messages[start:end] for start, end in pairwise(places))


def feed(stage: MatchStage, messages: Sequence[Message], cuts: Collection[int]) -> list[Outgoing]:
    sent: list[Outgoing] = []
    for batch in batches(messages, cuts):
        result: Result = result_of(stage, batch)
        assert not result.rejected
        sent += result.outgoing
        stage.delivered()
    return sent


def play(
    steps: Sequence[Step], store: ClusterStore, cuts: Collection[int] | None = None, **options: Any
) -> list[Outgoing]:
    """Run a stream from its start, each message a batch where no cuts are given; what was sent."""
    messages = delivered(messages_of(steps))
    stage = new_stage(store, **options)
    assert stage.assigned(0, len(messages)) == 0
    return feed(stage, messages, range(len(messages)) if cuts is None else cuts)


def values(sent: Iterable[Outgoing], *topics: str) -> list[bytes]:
    """What was sent to the event topics, in order."""
    return [m.value or b"" for m in sent if m.topic in (topics or (TOPICS.events, TOPICS.possible))]


def by_id(sent: Iterable[bytes]) -> dict[str, bytes]:
    """Events by id; the same id must always come with the same bytes."""
    found: dict[str, bytes] = {}
    for value in sent:
        event_id = orjson.loads(value)["id"]
        assert found.setdefault(event_id, value) == value
    return found


def view_of(sent: Iterable[bytes]) -> EventView:
    view = EventView()
    for value in sent:
        view.apply(orjson.loads(value))
    return view


def contents(store: MemoryClusters, scope: str = SCOPE) -> dict[str, Any]:
    """All that is held of a scope, apart from who may write it and how far it got.

    The offset counts a message that changed nothing in some batches only; the mark of an erasure counts for nothing
    once its record is back.
    """
    held = store._scopes.get(scope)
    if held is None:
        return {}
    names = ("sequence", "records", "assignments", "clusters", "members", "edges", "outbox", "verdicts", "redo")
    erased = {r: mark for r, mark in held.erased.items() if r not in held.records}
    return {name: getattr(held, name) for name in names} | {"erased": erased}


def clusters(store: MemoryClusters) -> dict[str, frozenset[str]]:
    return {cid: frozenset(members) for cid, members in contents(store).get("members", {}).items()}


def pairs(store: MemoryClusters) -> dict[tuple[str, str], float]:
    """Probabilities of the edges."""
    edges = contents(store).get("edges", {})
    return {(a, b): edge.match.probability for a, near in edges.items() for b, edge in near.items()}


def sets(store: MemoryClusters) -> set[frozenset[str]]:
    return set(clusters(store).values())


def sources(store: MemoryClusters) -> dict[str, Position]:
    """Record → the input message that it was last made from."""
    return {record_id: state.source for record_id, state in contents(store).get("records", {}).items()}


def last_versions(steps: Iterable[Put | Drop]) -> list[Put]:
    """The records that are there in the end, each as it came last."""
    last: dict[str, Put | Drop] = {}
    for step in steps:
        last.pop(step.id, None)
        last[step.id] = step
    return [step for step in last.values() if isinstance(step, Put)]


# --- laws --------------------------------------------------------------------------------------------------------------

CUTS = st.sets(st.integers(1, 24))
NEIGHBOURS = st.sampled_from([1, 2, 3, ALL])
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
    rows = [replace(_encoded(s.name, s.city), id=s.id) for s in steps]
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
