"""A store filled again: whatever there is much of, no update is too much for it at once."""

from dataclasses import replace

import pytest

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.records import Position, RecordState, ScopeUpdate, Verdict
from consumer.recovery.contents import Contents
from consumer.recovery.refill import refill

MANY = 5_000
PLACE = Position("in", 0, 1)


class Noting(MemoryClusters):
    """A store that notes how much it was told at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        told = update.records, update.assignments, update.clusters, update.edges, update.erased, update.verdicts
        self.most = max(self.most, *map(len, told))
        return super().apply(scope, partition, epoch, offset, update, after)


def verdict(n: int) -> Verdict:
    return Verdict(f"a{n}", f"b{n}", "same", "ada", 1, "de", PLACE, 1)


@pytest.mark.parametrize(
    "contents",
    [
        Contents(records={f"r{n}": RecordState(PLACE, 1, 1.0) for n in range(MANY)}),
        Contents(erased={f"r{n}": PLACE for n in range(MANY)}),
        Contents(verdicts={f"a{n}": {f"b{n}": verdict(n)} for n in range(MANY)}),
    ],
    ids=["records", "erased", "words"],
)
def test_no_update_is_large(contents: Contents) -> None:
    store = Noting()
    epoch = store.take_epoch(0)
    store.claim("de", 0, epoch)
    refill(store, "de", 0, epoch, MANY, contents)
    assert store.most <= 1_000
    found = store.contents(0)["de"]
    assert replace(found, applied=contents.applied) == contents
    assert store.applied("de", 0) == MANY
