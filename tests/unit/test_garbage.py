"""What a batch leaves to Python's garbage collector: nothing, else all that it read stays until the collector stops the stage."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.encode import EncodeStage
from consumer.loop import result_of
from tests.factories import NOW_MS, encoder_set, message, signup
from tests.match_runs import new_stage
from tests.match_streams import Drop, Put, Step, Tell, delivered, messages_of

STEPS: list[Step] = [
    *(Put(record, "Ada Lovelace", "London", NOW_MS) for record in "abc"),
    Put("d", "Somebody Else", "Oslo", NOW_MS),
    Tell("a", "d", "same"),
    Tell("a", "b", "different"),
    Put("b", "Ada Lovelace", "Leeds", NOW_MS),
    Drop("a"),
]


@contextmanager
def left() -> Iterator[Callable[[], set[str]]]:
    """Asked at its end: the package's types of what can be reached from nowhere and was not let go by itself."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> set[str]:
        gc.collect()
        types = map(type, gc.garbage)
        return {t.__qualname__ for t in types if t.__module__.startswith("consumer.")}

    try:
        yield found
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_batches_of_the_match_stage_leave_nothing() -> None:
    stage = new_stage(MemoryClusters())
    stage.assigned(0, 0)
    with left() as found:
        for one in delivered(messages_of(STEPS)):
            result_of(stage, [one])
            stage.delivered()
        assert found() == set()


def test_batches_of_the_encode_stage_leave_nothing() -> None:
    stage = EncodeStage(encoder_set(), 3)
    with left() as found:
        result_of(stage, [message(value, "r1") for value in (signup("Ada", "London"), b"?", None)])
        assert found() == set()
