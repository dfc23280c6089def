"""Records that are there before anything is measured: in an index, and as many in the store, in no cluster yet."""

from collections.abc import Callable, Sequence

import numpy as np

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.decode import DEFAULT_SCOPE, decode
from consumer.encode import EncoderSet
from consumer.ports import ClusterStore
from consumer.records import Message, Position, Record, RecordState, ScopeUpdate, Vector
from consumer.settings import Settings
from loadtest.ceiling.site import records

AT_ONCE = 5_000
_SEED = 10_000
"""And on, one a batch: nobody of these is met again in what is measured."""


class Fill:
    """Grows one index, and remembers what a store has to know of it."""

    def __init__(self, settings: Settings, encoders: EncoderSet, progress: Callable[[str], None]) -> None:
        index = settings.index
        self.options = HnswOptions(index.dims, index.m, index.ef_construction, index.ef, index.threads)
        self.index = GrowingIndex(encoders.layout.dim, index.exact_below, self.options, settings.state.directory.parent)
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
            for block in (2 * self.rows, 2 * self.rows + 1):  # the graph is a block behind
                self.index.turn_to(block)
            if len(self.index) % (20 * AT_ONCE) < AT_ONCE:
                self._progress(f"filling: {len(self.index)} of {count}")

    @property
    def rows(self) -> int:
        """Rows of the vectors topic that the records stand for: one a batch."""
        return len(self._states)

    def tell(self, store: ClusterStore) -> None:
        """Let a store know the records, as if the first `rows` offsets of partition 0 had brought them."""
        epoch = store.take_epoch(0)
        store.claim(DEFAULT_SCOPE, 0, epoch)
        for offset, states in enumerate(self._states):
            store.apply(DEFAULT_SCOPE, 0, epoch, offset, _only(states))

    def _encoded(self, count: int) -> Sequence[Vector]:
        profile = self._encoders.profile
        made = records(profile, f"fill-{self.rows}", count, _SEED + self.rows)
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
