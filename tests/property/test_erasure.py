"""What an erasure leaves behind: nothing in the files of an index, and a memory of it where coming again is denied."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.file_residue import files_with
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.delivery import AtLeastOnce
from consumer.loop import Limits, Loop, result_of
from consumer.metrics import METRICS
from consumer.ports import VectorIndex
from consumer.records import Message
from tests.factories import NOW_MS, unit_rows
from tests.match_runs import TOPICS, feed, new_stage, play, sets, sources, values
from tests.match_streams import CUTS, EXAMPLES, SCOPE, VECTORS, Drop, Put, Step, delivered, messages_of, streams
from tests.property.test_rebuild import compacted, held

DIM = 16
LIMITS = Limits(batch_records=3, poll_seconds=0.0, consecutive_rejects=1)
OPTIONS = HnswOptions(m=4, ef_construction=16, ef=16)
HERE: Step = Put("here", "li wei", "madrid", NOW_MS)
"""So that the scope is there before anything is erased from it."""


def denied_law(steps: Sequence[Step]) -> list[Step]:
    """The stream as `deny` is to understand it: without records that were erased and came again."""
    erased: set[str] = set()
    kept: list[Step] = []
    for step in steps:
        if isinstance(step, Put) and step.id in erased:
            continue
        if isinstance(step, Drop):
            erased.add(step.id)
        kept.append(step)
    return kept


@settings(EXAMPLES, max_examples=60)
@given(streams(again=False, words=True), CUTS)
def test_what_was_erased_stays_out_however_the_stream_is_cut(steps: list[Step], cuts: set[int]) -> None:
    steps = [HERE, *steps]
    expected, single, batched = MemoryClusters(), MemoryClusters(), MemoryClusters()
    play(denied_law(steps), expected)
    one_by_one = play(steps, single, deny_erased=True)
    in_batches = play(steps, batched, cuts, deny_erased=True)
    assert values(in_batches) == values(one_by_one)
    assert held(batched, steps) == held(single, steps)
    assert sources(batched) == sources(single)
    assert sources(single).keys() == sources(expected).keys()
    assert sets(single) == sets(expected)


def in_a_loop(steps: Sequence[Step]) -> tuple[MemoryClusters, list[Message]]:
    """A matcher that denies, over a topic that it also writes to; its store, and what the topic holds in the end."""
    messages = messages_of(steps)
    broker = MemoryBroker({VECTORS: 1, TOPICS.events: 1, TOPICS.clusters: 1, TOPICS.possible: 1})
    MemoryPublisher(broker).publish(messages)
    store = MemoryClusters()
    stage = new_stage(store, deny_erased=True)
    source = MemorySource(broker, "match", [VECTORS], lambda came: {p: stage.assigned(p[1], 0) for p in came})
    loop = Loop(source, stage, AtLeastOnce(source, MemoryPublisher(broker)), LIMITS)
    while loop.turn():
        pass
    return store, broker.messages(VECTORS)


@settings(EXAMPLES, max_examples=50)
@given(streams(again=False))
def test_no_vector_of_a_denied_record_stays_in_the_topic_and_the_marks_come_back_with_it(steps: list[Step]) -> None:
    steps = [HERE, *steps]
    store, topic = in_a_loop(steps)
    left = {(m.key or b"").decode() for m in compacted(topic, tombstones=False)}
    assert left == set(sources(store)), "what compaction leaves is what is taken in"

    # a rebuild from what compaction leaves while null values are kept, and then all of them once more
    erased = {step.id for step in steps if isinstance(step, Drop)}
    again = MemoryClusters()
    stage = new_stage(again, deny_erased=True)
    stage.assigned(0, 0)
    remains = compacted(topic, tombstones=True)
    feed(stage, remains, range(len(remains)))
    assert sources(again) == sources(store)
    number = topic[-1].position.offset + 1
    back = [Put(record, "li wei", "madrid", NOW_MS) for record in sorted(erased)]
    more = messages_of([*steps, *back])[-len(back) :] if back else []
    feed(stage, [_at(m, number + i) for i, m in enumerate(delivered(more))], range(len(more)))
    assert sources(again) == sources(store), "none of them came in"


def test_denied_records_are_counted_and_are_no_dead_letters() -> None:
    before = METRICS.denied._value.get()
    store = MemoryClusters()
    steps = [HERE, Put("r1", "li wei", "madrid", 0), Drop("r1"), Put("r1", "li wei", "madrid", 0), Drop("unknown")]
    play(
        [*steps, Put("unknown", "li wei", "madrid", 0)], store, deny_erased=True
    )  # `feed` asserts: nothing is rejected
    assert METRICS.denied._value.get() - before == 2
    assert set(sources(store)) == {"here"}
    assert store.known(SCOPE, ["r1", "unknown"]).erased.keys() == {"r1", "unknown"}


def test_where_it_is_allowed_an_erased_record_comes_in_as_a_new_one() -> None:
    store = MemoryClusters()
    play([HERE, Put("r1", "li wei", "madrid", 0), Drop("r1"), Put("r1", "li wei", "madrid", 0)], store)
    assert set(sources(store)) == {"here", "r1"}


# files


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), min_size=1, max_size=60), st.sampled_from([4, 1_000]))
def test_no_file_of_an_index_has_the_numbers_or_the_id_of_what_was_erased(
    steps: list[tuple[bool, int]], exact_below: int
) -> None:
    """Exact or a graph: hnswlib keeps the numbers of what is deleted, and they must not get into a file."""
    rows = unit_rows(31, DIM, seed=5)
    index = GrowingIndex(DIM, exact_below, OPTIONS)
    there: set[int] = set()
    for add, n in steps:
        if add:
            index.add([f"record-{n:02d}"], rows[n : n + 1], [1])
        else:
            index.remove([f"record-{n:02d}"])
        (there.add if add else there.discard)(n)
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder)).finish()
        for n in range(31):
            halves, floats = rows[n].astype("<f2"), rows[n].astype("<f4")
            # a part of it would do harm too
            numbers = [
                v[start : start + 4].tobytes() for v in (halves, floats, rows[n].astype("<f8")) for start in (0, 6, 12)
            ]
            found = any(hit for _, hit in files_with(folder, numbers))
            named = any(hit for _, hit in files_with(folder, [f'"record-{n:02d}"'.encode()]))
            assert (found, named) == (n in there, n in there)


class Noted(NoSnapshots):
    """A snapshot store that only notes at which offsets it was asked to write."""

    def __init__(self) -> None:
        self.saved: list[int] = []
        self.due: list[int] = []

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        super().save(partition, fingerprint, offset, scopes)
        self.saved.append(offset)

    def unsaved(self) -> list[int]:
        due, self.due = self.due, []
        return due


def test_a_snapshot_that_may_hold_an_erased_record_is_replaced_in_time() -> None:
    now, noted = [0], Noted()
    stage = new_stage(MemoryClusters(), noted, now_ms=lambda: now[0], erased_snapshot_ms=60_000)
    messages = delivered(messages_of([HERE, Put("r1", "li wei", "madrid", 0), Drop("r1"), Drop("never"), HERE]))
    stage.assigned(0, len(messages))
    feed(stage, messages[:4], [2])
    now[0] = 59_999
    feed(stage, messages[4:], [])
    assert noted.saved == []
    now[0] = 60_000
    feed(stage, [], [])
    result_of(stage, [])
    stage.delivered()
    now[0] = 10**9
    result_of(stage, [])
    stage.delivered()
    assert noted.saved == [5], "once, also where nothing comes any more"

    noted.due = [0]  # it could not be written
    for seconds in (0, 59, 60, 61, 1_000):
        now[0] = 10**9 + seconds * 1_000
        result_of(stage, [])
        stage.delivered()
    assert noted.saved == [5, 5], "once more, and not at once"


def _at(message: Message, offset: int) -> Message:
    return replace(message, position=replace(message.position, offset=offset))
