"""The laws of the match stage again, with a decider that learns from its stream: beliefs follow the rows and nothing else.

Steps are made small, so that the prior moves within a stream of a few records.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import beliefs as numbers
from consumer import match, rows, whitening
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.beliefs import Beliefs, Expectations
from consumer.errors import StoreError
from consumer.fusion_spec import LearnedSpec
from consumer.learned_fusion import LearnedFusion
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.records import Message, Outgoing, ScopeUpdate
from consumer.whitening import Whitening
from tests.factories import LinearDecider
from tests.match_runs import TOPICS, batches, by_id, contents, feed, new_stage, play, values
from tests.match_streams import CUTS, EXAMPLES, NEIGHBOURS, SCOPE, Put, Step, delivered, encoders, messages_of, streams

SPEC = LearnedSpec(kind="learned", model="linear", duplicate=0.7, possible=0.2, min_evidence=0.7)
DECIDER = LinearDecider(
    ["name", "city"],
    [12.0, 3.0],
    [-4.0, -1.0],
    {"name": 0.6},
    [-0.5],
    [2.0],
    Expectations([0.4, None], 0.2, 1.0),
    whitened=["name"],
)
FEWER = settings(EXAMPLES, max_examples=120)


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbers, "_STEP_ROWS", 3)
        patch.setattr(numbers, "_PRIOR_STRENGTH", 2)
        patch.setattr(whitening, "LEAST_ROWS", 2)
        patch.setattr(whitening, "_STRENGTH", 1)
        for module in (rows, match):
            patch.setattr(module, "BLOCK_OFFSETS", 3)
        yield


def learned() -> LearnedFusion:
    return LearnedFusion(encoders().layout, SPEC, DECIDER)


def held(store: MemoryClusters) -> Mapping[str, Any]:
    return {**contents(store), "beliefs": store.beliefs(SCOPE)}


def test_the_prior_moves_within_such_a_stream() -> None:
    store = MemoryClusters()
    play([Put(f"r{i}", "maria garcia", "madrid", i) for i in range(12)], store, fusion=learned())
    packed, common = store.beliefs(SCOPE)
    assert packed is not None
    assert common is not None
    assert Whitening.unpack(common, learned().layout.spans(["name"])).rows == 6, (
        "before the seventh of twelve, and not twice"
    )
    believed = Beliefs.unpack(packed)
    assert believed.rows == 11, "the first record met nobody"
    assert believed.shift > 0.5


@FEWER
@given(streams(words=True), CUTS, NEIGHBOURS)
def test_batching_changes_neither_events_nor_beliefs(steps: list[Step], cuts: set[int], k: int) -> None:
    # an erasure of what is gone already may or may not begin a block; the row after it does
    steps = [*steps, Put("last", "li wei", "madrid", 0)]
    single, batched = MemoryClusters(), MemoryClusters()
    one_by_one = play(steps, single, k=k, fusion=learned())
    in_batches = play(steps, batched, cuts, k=k, fusion=learned())
    assert values(in_batches, TOPICS.events) == values(one_by_one, TOPICS.events)
    assert values(in_batches, TOPICS.possible) == values(one_by_one, TOPICS.possible)
    assert held(batched) == held(single)


@FEWER
@given(streams(again=False, words=True), CUTS, CUTS, st.data())
def test_a_crash_after_the_write_forgets_nothing_and_counts_nothing_twice(
    steps: list[Step], cuts: set[int], other_cuts: set[int], data: st.DataObject
) -> None:
    messages = delivered(messages_of(steps))
    died_at = data.draw(st.integers(0, len(messages)))
    undisturbed, store = MemoryClusters(), MemoryClusters()
    expected = values(play(steps, undisturbed, fusion=learned()))

    first = new_stage(store, fusion=learned())
    first.assigned(0, len(messages))
    sent = feed(first, messages[:died_at], cuts)
    if died_at < len(messages):
        result_of(first, messages[died_at : died_at + 3])  # written, and neither sent nor acknowledged
    second = new_stage(store, fusion=learned())
    second.assigned(0, len(messages))
    sent += feed(second, messages, other_cuts)

    assert by_id(values(sent)) == by_id(expected)
    assert held(store) == held(undisturbed)


class Breaking(MemoryClusters):
    """Its connection breaks at chosen writes, before or after they are done."""

    def __init__(self, before: set[int], after: set[int]) -> None:
        super().__init__()
        self._before, self._after, self._writes = before, after, 0

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        self._writes += 1
        if self._writes in self._before:
            raise StoreError("away before the write")
        written = super().apply(scope, partition, epoch, offset, update, after)
        if self._writes in self._after:
            raise StoreError("away after the write")
        return written


@FEWER
@given(streams(words=True), CUTS, st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)))
def test_a_write_in_doubt_is_believed_once(
    steps: list[Step], cuts: set[int], before: set[int], after: set[int]
) -> None:
    """The batch comes again, as the loop has it; what was learned on the way of a write that failed is not kept."""
    undisturbed, store = MemoryClusters(), Breaking(before, after)
    expected = values(play(steps, undisturbed, fusion=learned()))
    messages = delivered(messages_of(steps))
    stage = new_stage(store, fusion=learned())
    stage.assigned(0, len(messages))
    sent = [message for batch in batches(messages, cuts) for message in _again_and_again(stage, batch)]
    assert by_id(values(sent)) == by_id(expected)
    assert held(store) == held(undisturbed)


def _again_and_again(stage: MatchStage, batch: Sequence[Message]) -> list[Outgoing]:
    while True:
        try:
            outgoing = list(result_of(stage, batch).outgoing)
        except StoreError:
            continue
        stage.delivered()
        return outgoing


@FEWER
@given(streams(again=False), CUTS)
def test_another_decider_starts_afresh_on_the_same_store(steps: list[Step], cuts: set[int]) -> None:
    """With another number of terms, too: the fusion is a setting, and the store stays."""
    store = MemoryClusters()
    messages = delivered(messages_of(steps))
    first = new_stage(store, fusion=learned())
    first.assigned(0, len(messages))
    feed(first, messages[: len(steps) // 2], cuts)
    learned_before, _ = store.beliefs(SCOPE)

    usual = Expectations([0.4, 0.4, None], 0.2, 1.0)
    two = replace(
        DECIDER,
        crowding={"name": 0.6, "city": 0.5},
        crowding_slopes=[-0.5, -0.1],
        expectations=usual,
        fingerprint="two",
    )
    second = new_stage(store, fusion=replace(learned(), decider=two))
    second.assigned(0, len(messages))
    feed(second, messages, cuts)
    packed, _ = store.beliefs(SCOPE)
    if packed is not None and packed != learned_before:
        believed = Beliefs.unpack(packed)
        assert (believed.decider, len(believed.sums)) == ("two", 3)
