"""What compaction leaves of the vectors topic is enough: a matcher that starts from it alone ends where the first one was."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.delivery import AtLeastOnce
from consumer.loop import Limits, Loop
from consumer.records import Message, Outgoing, Vector, Verdict
from consumer.vectors import unpack
from tests.match_runs import TOPICS, feed, new_stage, sources
from tests.match_streams import (
    EXAMPLES,
    SCOPE,
    VECTORS,
    Again,
    Drop,
    Put,
    Step,
    Tell,
    delivered,
    encoders,
    messages_of,
    streams,
)

LIMITS = Limits(batch_records=3, poll_seconds=0.0, consecutive_rejects=1)
QUORA = st.sampled_from([0.0, 0.5])


def run(steps: Sequence[Step], quorum: float) -> tuple[MemoryClusters, list[Message]]:
    """A matcher over a topic that it also writes to, to the end; its store, and what the topic held then."""
    return run_over(messages_of(steps), quorum)


def run_over(topic: Sequence[Outgoing], quorum: float) -> tuple[MemoryClusters, list[Message]]:
    """The same over what a topic holds."""
    broker = MemoryBroker({VECTORS: 1, TOPICS.events: 1, TOPICS.clusters: 1, TOPICS.possible: 1})
    MemoryPublisher(broker).publish(topic)
    store = MemoryClusters()
    stage = new_stage(store, quorum=quorum)
    source = MemorySource(broker, "match", [VECTORS], lambda came: {p: stage.assigned(p[1], len(topic)) for p in came})
    loop = Loop(source, stage, AtLeastOnce(source, MemoryPublisher(broker)), LIMITS)
    while loop.turn():
        pass
    return store, broker.messages(VECTORS)


def compacted(messages: Iterable[Message], *, tombstones: bool) -> list[Message]:
    """The last message of each key, null values only where `tombstones` are still kept."""
    last: dict[bytes | None, Message] = {}
    for message in messages:
        last.pop(message.key, None)
        last[message.key] = message
    return [message for message in last.values() if tombstones or message.value is not None]


def rebuilt(messages: Sequence[Message], quorum: float) -> MemoryClusters:
    store = MemoryClusters()
    stage = new_stage(store, quorum=quorum)
    stage.assigned(0, messages[-1].position.offset + 1 if messages else 0)
    feed(stage, messages, range(len(messages)))
    return store


def held(store: MemoryClusters, steps: Sequence[Step]) -> object:
    """Who is together, and what of people's words is kept."""
    ids = sorted(
        {r for step in steps for r in ([step.a, step.b] if isinstance(step, Tell) else [getattr(step, "id", "")])}
    )
    found = store.read(SCOPE, ids, [], edges=True)
    clusters = {frozenset(cluster.members) for cluster in found.clusters.values()}
    return set(found.records), clusters, found.verdicts


@EXAMPLES
@given(streams(again=False, words=True), QUORA, st.booleans())
def test_a_rebuild_from_the_compacted_topic_ends_in_the_same_place(
    steps: list[Step], quorum: float, tombstones: bool
) -> None:
    store, messages = run(steps, quorum)
    assert held(rebuilt(compacted(messages, tombstones=tombstones), quorum), steps) == held(store, steps)


@EXAMPLES
@given(streams(again=False, words=True), QUORA, st.booleans())
def test_a_rebuild_leaves_a_topic_from_which_the_next_ends_there_too(
    steps: list[Step], quorum: float, tombstones: bool
) -> None:
    store, messages = run(steps, quorum)
    again, more = run_over([Outgoing(VECTORS, m.key, m.value, m.headers, 0, m.timestamp_ms) for m in messages], quorum)
    assert held(again, steps) == held(store, steps)
    assert held(rebuilt(compacted(more, tombstones=tombstones), quorum), steps) == held(store, steps)


@EXAMPLES
@given(streams(again=False, words=True))
def test_no_word_on_an_erased_record_is_left_in_the_topic(steps: list[Step]) -> None:
    _, messages = run(steps, 0.0)
    fingerprint, dim = encoders().fingerprint, encoders().layout.dim
    left = [unpack(m, fingerprint, dim) for m in compacted(messages, tombstones=False)]
    there: set[str] = set()
    erased: set[str] = set()
    for step in steps:
        if isinstance(step, Put):
            there.add(step.id)
            erased.discard(step.id)
        elif isinstance(step, Drop) and step.id in there:
            there.remove(step.id)
            erased.add(step.id)
    assert [v for v in left if isinstance(v, Verdict) and {v.a, v.b} & erased] == []


def test_a_word_between_records_that_come_and_go_is_told_once() -> None:
    """The null value of a word is no word: reading it sends none again."""
    word = Tell("r1", "r2", "different")
    records = [Put(record, "li wei", "madrid", 0) for record in ("r1", "r2")]
    _, messages = run([*records, word, Drop("r1"), word, Drop("r2")], 0.0)
    words = [m for m in messages if (m.key or b"")[:1] == b"\xff"]
    assert [m.value is None for m in words] == [False, False, True, True]


FIRST, LAST = Tell("r1", "r2", "different"), Tell("r1", "r2", "same")
RECORDS = [Put(record, "li wei", "madrid", 0) for record in ("r1", "r2")]


@pytest.mark.parametrize(
    "steps",
    [[*RECORDS, FIRST, LAST, Again(2)], [*RECORDS, FIRST, Drop("r1"), RECORDS[0], LAST]],
    ids=["a late copy of the first", "the end of the first, behind the last"],
)
def test_what_takes_the_place_of_the_last_word_in_the_topic_gives_it_back(steps: list[Step]) -> None:
    store, messages = run(steps, 0.0)
    assert [v.says for v in store.read(SCOPE, ["r1"], [], edges=True).verdicts["r1"].values()] == ["same"]
    assert held(rebuilt(compacted(messages, tombstones=True), 0.0), steps) == held(store, steps)


@EXAMPLES
@given(streams(again=True), QUORA, st.booleans())
def test_a_version_that_comes_late_is_not_what_compaction_leaves(
    steps: list[Step], quorum: float, tombstones: bool
) -> None:
    """As an encoder sends it that lost its partition: what stands is said again behind it, as it was."""
    store, messages = run(steps, quorum)
    remains = compacted(messages, tombstones=tombstones)
    assert sources(rebuilt(remains, quorum)) == sources(store)
    sent = {_version(message) for message in delivered(messages_of(steps))}
    assert {_version(message) for message in remains} <= sent


def _version(message: Message) -> object:
    """A version of a record, but for its times: ingested is what came late, and born is a record with its first version."""
    item = unpack(message, encoders().fingerprint, encoders().layout.dim)
    if isinstance(item, Vector):
        return item.id, item.scope, item.source, item.quality, item.mask, item.values.tobytes()
    return item.source
