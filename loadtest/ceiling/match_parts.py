"""The parts of the match stage, each by itself: hnswlib, unpacking, and every call of the store that the stage makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import hnswlib
import numpy as np

from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.projection import Projection
from consumer.adapters.row_file import as_floats
from consumer.indexes import build_snapshots
from consumer.learned_fusion import LearnedFusion
from consumer.loop import result_of
from consumer.ports import ClusterStore, Cosines
from consumer.records import Floats, Halves, Integers, Message, Vector
from consumer.vectors import unpack
from consumer.whitening import Whitening, renewed
from consumer.wiring import build_fusion, build_match_stage, build_store
from loadtest.ceiling.clock import BATCH, Clock, Cost, batches
from loadtest.ceiling.fill import Fill, Rows
from loadtest.ceiling.site import Site

_AT_ONCE = 32
"""Queries whose candidates are scored together, as in the index: more would leave the processor's cache."""
_CALL = tuple[str, tuple[Any, ...], dict[str, Any]]
_SCRIPT = "Redis: the script that writes a batch"
_READS = "Redis: reads"


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """An index as it was when it had so many records. What is filled on does not change it."""

    folder: Path
    records: int
    options: HnswOptions
    cosines: Cosines

    @classmethod
    def of(cls, site: Site, fill: Fill) -> "SavedIndex":
        """Written into the folder of the site."""
        folder = site.folder / "index"
        folder.mkdir()
        fill.index.save(folder).finish()
        layout, fusion = site.encoders.layout, build_fusion(site.settings, site.encoders)
        whitening = renewed(Whitening(), fill.index, layout.spans(fusion.whitened))
        return cls(folder, len(fill.index), fill.options, partial(layout.cosines, whitening=whitening))


def index_parts(site: Site, index: SavedIndex, messages: Sequence[Message], skip: int) -> Mapping[str, Cost]:
    """The costs of unpacking and of the index, batch by batch.

    Of hnswlib search and add, with vectors as the index shortens them; beside it the products of whole vectors, which score
    the candidates that it finds, and the cosines of the best of them, modality by modality.
    """
    dim, options = site.encoders.layout.dim, index.options
    axes = index.folder / "axes.npy"
    shorten = Projection(np.load(axes) if axes.exists() else None)
    graph = hnswlib.Index(space="ip", dim=shorten.width(dim))
    graph.load_index(str(index.folder / "graph.bin"), max_elements=2 * index.records + len(messages))
    whole = np.memmap(index.folder / "vectors.bin", "<f2", "r").reshape(-1, dim).view(np.ndarray)
    graph.set_ef(options.ef)
    threads, best = options.search_threads(index.records), site.settings.index.neighbours
    clock, label = Clock(), 2 * index.records
    for number, batch in enumerate(batches(messages)):
        timed = clock if number * BATCH >= skip else Clock()
        with timed.part("unpack vectors"):
            items = [unpack(message, site.encoders.fingerprint, dim) for message in batch]
        vectors = np.stack([item.values for item in items if isinstance(item, Vector)]).astype(np.float32)
        queries = shorten(vectors)
        with timed.part("hnswlib: search"):
            labels, _ = graph.knn_query(queries, options.ef, num_threads=threads)
        with timed.part("whole vectors: score candidates"):
            _score(whole, labels % len(whole), vectors)
        with timed.part("whole vectors: cosines of the best"):
            _compare(whole, labels[:, :best] % len(whole), vectors, index.cosines)
        with timed.part("hnswlib: add"):
            graph.add_items(queries, np.arange(label, label + len(queries)), num_threads=1)
        label += len(queries)
    return clock.costs(len(messages) - skip)


def _score(whole: Halves, labels: Integers, queries: Floats) -> None:
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        np.einsum("qcd,qd->qc", as_floats(np.take(whole, labels[part], axis=0)), queries[part])


def _compare(whole: Halves, labels: Integers, queries: Floats, cosines: Cosines) -> None:
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        cosines(as_floats(whole[labels[part]]), queries[part, None, :])


def decider_part(site: Site, rounds: int = 20) -> Mapping[str, Cost]:
    """The cost of the decider's model over the pairs of a record; nothing where the fusion has none."""
    fusion = build_fusion(site.settings, site.encoders)
    if not isinstance(fusion, LearnedFusion):
        return {}
    decider, pairs = fusion.decider, BATCH * site.settings.index.neighbours
    random = np.random.default_rng(0)
    similarities = random.random((pairs, len(decider.modalities)), np.float32)
    beyond = random.random((pairs, len(decider.expectations.usual)))
    clock = Clock()
    for _ in range(rounds):
        with clock.part("ONNX Runtime: the decider"):
            decider.weigh(similarities, similarities > 0, beyond)
    return clock.costs(rounds * BATCH)


class StoreCalls:
    """What the stage asks of Redis: recorded while it runs over some messages, then asked again by itself."""

    def __init__(self, site: Site, rows: Rows, messages: Sequence[Message], skip: int) -> None:
        self._site, self._rows, self._counted = site, rows, len(messages) - skip
        self._calls, self._skipped = _recorded(site, rows, messages, skip)

    def parts(self, name: str) -> Mapping[str, Cost]:
        """The costs, under a name that was not used yet."""
        store = _store(self._site, name)
        try:
            self._rows.tell(store)
            clock = Clock()
            for number, (method, arguments, named) in enumerate(self._calls):
                timed = clock if number >= self._skipped else Clock()
                with timed.part(_SCRIPT if method == "apply" else _READS):
                    getattr(store, method)(*arguments, **named)
            return clock.costs(self._counted)
        finally:
            store.close()


def _recorded(site: Site, rows: Rows, messages: Sequence[Message], skip: int) -> tuple[list[_CALL], int]:
    """Every call of a stage that works off the messages without a broker, and how many belong to the skipped ones."""
    store = _store(site, "recorded")
    recorder = _Recorder(store)
    snapshots = build_snapshots(site.settings, site.profile, site.encoders.layout.dim)
    stage = build_match_stage(site.settings, site.encoders, cast(ClusterStore, recorder), snapshots)
    rows.tell(store)
    try:
        stage.assigned(0, messages[-1].position.offset + 1)
        skipped = done = 0
        for batch in batches(messages):
            result_of(stage, batch)
            stage.confirm()
            stage.delivered()
            done += len(batch)
            if done <= skip:
                skipped = len(recorder.calls)
        return recorder.calls, skipped
    finally:
        store.close()


def _store(site: Site, name: str) -> Any:
    redis = site.settings.redis.model_copy(update={"prefix": site.named(name)})
    return build_store(site.settings.model_copy(update={"redis": redis}), site.profile)


class _Recorder:
    """A store whose calls are written down on their way."""

    def __init__(self, store: ClusterStore) -> None:
        self._store = store
        self.calls: list[_CALL] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            return method(*arguments, **named)

        return call
