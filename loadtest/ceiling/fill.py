"""Records that are there before anything is measured: in an index, and as many in the store, in no cluster yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.adapters.growing_index import GrowingIndex
from consumer.decode import DEFAULT_SCOPE, decode
from consumer.encode import EncoderSet
from consumer.indexes import hnsw_options
from consumer.ports import ClusterStore
from consumer.records import Message, Position, Record, RecordState, ScopeUpdate, Vector
from consumer.settings import Settings
from loadtest.ceiling.site import records

AT_ONCE = 5_000
_SEED = 10_000
"""And on, one a batch: nobody of these is met again in what is measured."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the vectors topic that records stand for: one a batch."""

    states: Sequence[dict[str, RecordState]]

    def __len__(self) -> int:
        return len(self.states)

    def tell(self, store: ClusterStore) -> None:
        """Let a store know the records, as if the first offsets of partition 0 had brought them."""
        epoch = store.take_epoch(0)
        store.claim(DEFAULT_SCOPE, 0, epoch)
        for offset, states in enumerate(self.states):
            store.apply(DEFAULT_SCOPE, 0, epoch, offset, _only(states))


class Fill:
    """Grows one index, and remembers what a store has to know of it."""

    def __init__(self, settings: Settings, encoders: EncoderSet, progress: Callable[[str], None]) -> None:
        self.options = hnsw_options(settings)
        exact_below, folder = settings.index.exact_below, settings.state.directory.parent
        self.index = GrowingIndex(encoders.layout.dim, exact_below, self.options, folder)
        self._encoders = encoders
        self._progress = progress
        self._states: list[dict[str, RecordState]] = []

    def grow(self, count: int) -> None:
        """To `count` records."""
        while len(self.index) < count:
            vectors = self._encoded(min(AT_ONCE, count - len(self.index)))
            values = np.stack([v.values for v in vectors]).astype(np.float32)
            self.index.add([v.id for v in vectors], values, [v.mask for v in vectors])
            self._states.append({v.id: RecordState(v.source, v.born_ms, v.quality) for v in vectors})
            rows = len(self._states)
            for block in (2 * rows, 2 * rows + 1):  # the graph is a block behind
                self.index.turn_to(block)
            if len(self.index) % (20 * AT_ONCE) < AT_ONCE:
                self._progress(f"filling: {len(self.index)} of {count}")

    @property
    def rows(self) -> Rows:
        """Of the records that are there by now."""
        return Rows(tuple(self._states))

    def _encoded(self, count: int) -> Sequence[Vector]:
        profile = self._encoders.profile
        made = records(profile, f"fill-{len(self._states)}", count, _SEED + len(self._states))
        messages = [
            Message(Position("fill", 0, n), sent.key, sent.value, sent.timestamp_ms or 0) for n, sent in enumerate(made)
        ]
        items = [decode(message, profile) for message in messages]
        return self._encoders.encode([item for item in items if isinstance(item, Record)])


def _only(states: dict[str, RecordState]) -> ScopeUpdate:
    return ScopeUpdate(
        records=states,
        assignments={},
        clusters={},
        members_put={},
        members_dropped={},
        edges=(),
        edges_dropped=(),
        erased={},
        outbox=(),
    )
