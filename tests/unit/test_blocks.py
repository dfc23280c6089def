"""Blocks of offsets: how a stage takes them, and what it tells its indexes of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.loop import result_of
from consumer.match import MatchStage
from consumer.ports import Cosines, Hits, whole
from consumer.records import Floats
from consumer.rows import BLOCK_OFFSETS
from tests.factories import NOW_MS
from tests.match_runs import OPTIONS, new_stage
from tests.match_streams import Put, delivered, encoders, messages_of

MESSAGES = delivered(messages_of([Put(f"r{n}", f"name {n}", None, NOW_MS) for n in range(3 * BLOCK_OFFSETS)]))


class Noted(GrowingIndex):
    """Writes down what it is told."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(encoders().layout.dim, 10_000, OPTIONS)
        self._log = log

    def turn_to(self, block: int) -> None:
        if block != self._block:
            self._log.append(f"block {block}")
        super().turn_to(block)

    def last_search(self) -> None:
        self._log.append("last")
        super().last_search()

    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> Sequence[Hits]:
        self._log.append("search")
        return super().search(queries, k, cosines, spare)


def noting() -> tuple[MatchStage, list[str]]:
    log: list[str] = []
    stage = new_stage(MemoryClusters(), index=lambda: Noted(log), k=5)
    stage.assigned(0, 0)
    return stage, log


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ([256, 512], "block 0, last, search, block 1, last, search"),
        ([255, 256, 300], "block 0, search, last, search, block 1, search"),
        ([200, 300, 512], "block 0, search, last, search, block 1, search, last, search"),
    ],
)
def test_the_last_search_of_a_block_is_told_where_it_is_known(ends: Sequence[int], told: str) -> None:
    stage, log = noting()
    for start, end in zip([0, *ends], ends, strict=False):
        result_of(stage, MESSAGES[start:end])
        stage.delivered()
    assert ", ".join(log) == told


def test_what_comes_again_turns_nothing_back() -> None:
    stage, log = noting()
    result_of(stage, MESSAGES[:256])
    stage.process(MESSAGES[256:400])
    stage.undelivered()
    log.clear()
    result_of(stage, MESSAGES[:500])
    assert log == ["search"], "in the block that it was in"


def test_one_partition_is_taken_block_by_block() -> None:
    stage, _ = noting()
    assert stage.room(256) == 256
    result_of(stage, MESSAGES[:100])
    assert stage.room(60) == 60
    result_of(stage, [])
    assert stage.room(256) == 156, "offset 256 begins a block"
    result_of(stage, MESSAGES[100:256])
    assert stage.room(256) == 256


def test_several_partitions_are_taken_as_they_come() -> None:
    stage, _ = noting()
    stage.assigned(1, 0)
    (other,) = delivered(messages_of([Put("r", "name", None, NOW_MS, "another scope")]))
    result_of(stage, [MESSAGES[0], replace(other, position=replace(other.position, partition=1))])
    assert stage.room(256) == 256
