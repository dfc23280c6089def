"""Runs of the match stage in tests: `play` takes a stream through a stage with exact search; what was sent, and what is held."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.decisions import Policy
from consumer.evaluation import EventView
from consumer.fusion import Fusion, WeightedFusion
from consumer.fusion_spec import WeightedSpec
from consumer.loop import Result, result_of
from consumer.match import MatchStage
from consumer.match_settings import MatchSettings
from consumer.merging import MergeRules
from consumer.outbox import MatchTopics
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex
from consumer.records import Message, Outgoing, Position
from consumer.redo import Repair
from tests.factories import KEY, NOW_MS
from tests.match_streams import ALL, SCOPE, VECTORS, Step, delivered, encoders, messages_of

TOPICS = MatchTopics("events", "clusters", "possible")
PLENTY = Repair(ALL, 2)
OPTIONS = HnswOptions()


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
