"""`consumer.clusters` against the definition: connected components of the duplicates there are now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.clusters import Change
from consumer.events import EventRenderer
from consumer.explanation import follow
from consumer.merging import CROWD, SIZE_CAP
from consumer.ports import Neighbourhood
from consumer.records import Cluster, ClusterChange, PossibleChange
from tests.cluster_scenarios import MINT, SCOPE, Erase, Say, Step, Upsert, disputed_lives, lives, names, play

IDS = names(8)
EXAMPLES = settings(max_examples=150)


class Graph:
    """The oracle: every record and every edge there is, and the components by search."""

    def __init__(self) -> None:
        self.records: dict[str, Upsert] = {}
        self.edges: dict[frozenset[str], bool] = {}

    def feed(self, step: Step) -> None:
        assert not isinstance(step, Say), "nobody decides here"
        self.edges = {pair: duplicate for pair, duplicate in self.edges.items() if step.id not in pair}
        if isinstance(step, Erase):
            self.records.pop(step.id, None)
            return
        before = self.records.get(step.id)
        self.records[step.id] = replace(step, born_ms=min(step.born_ms, before.born_ms)) if before else step
        for other, duplicate in step.matches.items():
            if other in self.records:
                self.edges[frozenset((step.id, other))] = bool(duplicate)

    def components(self) -> set[frozenset[str]]:
        """Two records or more."""
        found, rest = set(), set(self.records)
        while rest:
            reached, frontier = set[str](), [rest.pop()]
            while frontier:
                record = frontier.pop()
                reached.add(record)
                near = {r for pair, joins in self.edges.items() if joins and record in pair for r in pair}
                frontier += near - reached
            rest -= reached
            found.add(frozenset(reached))
        return {component for component in found if len(component) > 1}


def graph_of(steps: Iterable[Step]) -> Graph:
    graph = Graph()
    for step in steps:
        graph.feed(step)
    return graph


def state(store: MemoryClusters, ids: Sequence[str] = IDS) -> Neighbourhood:
    return store.read(SCOPE, ids, [], edges=True)


def clusters(store: MemoryClusters) -> dict[str, frozenset[str]]:
    return {cid: frozenset(cluster.members) for cid, cluster in state(store).clusters.items()}


def replayed(changes: Iterable[Change]) -> dict[str, str]:
    """The assignment table of a subscriber who reads nothing but the changes."""
    table: dict[str, str] = {}
    for change in changes:
        if isinstance(change, PossibleChange):
            continue
        for record in change.removed:
            if table.get(record) == change.cluster_id:  # it may have joined another in the change before
                del table[record]
        table.update(dict.fromkeys(change.added, change.cluster_id))
    return table


def by_cluster(changes: Iterable[Change]) -> Mapping[str, list[ClusterChange]]:
    lines: dict[str, list[ClusterChange]] = {}
    for change in changes:
        if isinstance(change, ClusterChange):
            lines.setdefault(change.cluster_id, []).append(change)
    return lines


@EXAMPLES
@given(lives(IDS))
@example(
    [
        *(Upsert("r0", 0, 1.0), Upsert("r1", 0, 1.0, {"r0": True})),
        *(Upsert("r2", 0, 1.0), Upsert("r3", 0, 1.0, {"r2": True})),
        Upsert("r4", 0, 1.0, {"r0": True, "r2": True}),
        Erase("r4"),  # falls into two clusters of records that this row does not name
    ]
)
def test_clusters_are_the_connected_components_of_the_duplicates(steps: list[Step]) -> None:
    store = MemoryClusters()
    play(store, steps)
    graph = graph_of(steps)

    assert set(clusters(store).values()) == graph.components()
    found = state(store)
    assert found.records.keys() == graph.records.keys()
    edges = {frozenset((e.a, e.b)): e.joins for near in found.edges.values() for e in near.values()}
    assert edges == graph.edges


@EXAMPLES
@given(lives(IDS))
def test_a_cluster_says_what_its_records_say(steps: list[Step]) -> None:
    store = MemoryClusters()
    play(store, steps)
    latest = graph_of(steps).records
    for cluster in state(store).clusters.values():
        for record, member in cluster.members.items():
            assert (member.born_ms, member.quality) == (latest[record].born_ms, latest[record].quality)
        best = min(cluster.members.items(), key=lambda item: (-item[1].quality, item[1].born_ms, item[0]))
        assert cluster.exemplar == best[0]


@st.composite
def shuffled_inserts(draw: st.DrawFn) -> tuple[list[Step], list[Step]]:
    """The same records with the same duplicates in two orders: the later of two records finds the earlier."""
    ids = names(draw(st.integers(2, 8)))
    pair = st.tuples(st.sampled_from(ids), st.sampled_from(ids)).filter(lambda p: p[0] != p[1]).map(frozenset)
    pairs = draw(st.sets(pair, max_size=10))
    born = {record: draw(st.integers(0, 4)) for record in ids}  # ties are likely

    def in_order(order: Sequence[str]) -> list[Step]:
        return [
            Upsert(
                record, born[record], 0.5, {other: True for other in order[:i] if frozenset((record, other)) in pairs}
            )
            for i, record in enumerate(order)
        ]

    return in_order(draw(st.permutations(ids))), in_order(draw(st.permutations(ids)))


@EXAMPLES
@given(shuffled_inserts(), st.sets(st.integers(1, 8)))
def test_inserts_in_any_order_give_the_same_clusters_and_ids(
    orders: tuple[list[Step], list[Step]], cuts: set[int]
) -> None:
    one, other = MemoryClusters(), MemoryClusters()
    play(one, orders[0])
    play(other, orders[1], cuts=cuts)

    assert clusters(one) == clusters(other)
    for cluster in state(one).clusters.values():
        oldest = min((member.born_ms, MINT(record)) for record, member in cluster.members.items())
        assert (cluster.founded_ms, cluster.id) == oldest
        assert cluster.exemplar == state(other).clusters[cluster.id].exemplar


# What is split off bears an id that does not depend on who else was named in the batch.
SPLIT_BY_A_LATER_ROW: list[Step] = [
    Upsert("r4", 2, 0.25),
    Upsert("r2", 1, 0.5),
    Upsert("r3", 1, 1.0, {"r4": True}),
    Upsert("r0", 2, 0.25, {"r3": True}),
    Upsert("r1", 2, 0.5, {"r3": True, "r0": True}),
    Upsert("r1", 1, 0.5, {"r2": True, "r0": True}),
    Upsert("r0", 0, 0.25, {"r3": False, "r1": False}),
]


@EXAMPLES
@given(lives(IDS), st.sets(st.integers(1, 25)), st.sampled_from([3, 1_000]))
@example(SPLIT_BY_A_LATER_ROW, {4}, 1_000)
@example(SPLIT_BY_A_LATER_ROW, {3, 5}, 1_000)
def test_batching_changes_neither_state_nor_changes(steps: list[Step], cuts: set[int], max_size: int) -> None:
    single, batched = MemoryClusters(), MemoryClusters()
    assert play(single, steps, max_size=max_size) == play(batched, steps, cuts=cuts, max_size=max_size)
    assert state(single) == state(batched)


@EXAMPLES
@given(lives(IDS), st.sampled_from([3, 1_000]))
def test_changes_replayed_give_the_assignments(steps: list[Step], max_size: int) -> None:
    store = MemoryClusters()
    changes = play(store, steps, max_size=max_size)
    assert replayed(changes) == state(store).assignments


@EXAMPLES
@given(lives(IDS), st.sampled_from([3, 1_000]))
def test_a_cluster_lives_one_life_in_numbered_steps(steps: list[Step], max_size: int) -> None:
    store = MemoryClusters()
    lines = by_cluster(play(store, steps, max_size=max_size))
    live = clusters(store)
    for cid, line in lines.items():
        assert [change.version for change in line] == list(range(1, len(line) + 1))
        assert line[0].kind in {"created", "merged", "split"}
        assert [change.kind == "dissolved" for change in line] == [False] * (len(line) - 1) + [cid not in live]
        members: set[str] = set()
        for change in line:
            assert members.isdisjoint(change.added)
            assert members.issuperset(change.removed)
            members = (members | set(change.added)) - set(change.removed)
            assert set(change.members) == members
            assert len(change.members) == len(members) != 1
            assert change.exemplar in members if members else change.exemplar is None


@EXAMPLES
@given(lives(IDS))
def test_members_are_listed_oldest_first(steps: list[Step]) -> None:
    born = {record: 9 - i // 2 for i, record in enumerate(IDS)}
    fixed = [replace(step, born_ms=born[step.id]) if isinstance(step, Upsert) else step for step in steps]
    for line in by_cluster(play(MemoryClusters(), fixed)).values():
        for change in line:
            assert list(change.members) == sorted(change.members, key=lambda record: (born[record], record))


@EXAMPLES
@given(lives(IDS), st.sampled_from([2, 3]))
def test_no_cluster_outgrows_the_cap_and_what_is_held_joins_nothing(steps: list[Step], max_size: int) -> None:
    store = MemoryClusters()
    play(store, steps, max_size=max_size)
    found = state(store)
    for cluster in found.clusters.values():
        assert len(cluster.members) <= max_size
        assert _connected(cluster, found)
    for near in found.edges.values():
        assert all(edge.held in {None, SIZE_CAP, CROWD} for edge in near.values())
        for edge in near.values():
            if edge.joins:
                assert found.assignments[edge.a] == found.assignments[edge.b]


@EXAMPLES
@given(lives(IDS), st.sampled_from([3, 1_000]))
@example(
    [
        Upsert("r0", 1, 1.0),
        Upsert("r3", 0, 0.25, {"r0": True}),
        Upsert("r2", 0, 0.5, {"r3": True, "r0": False}),
        Upsert("r3", 1, 1.0, {"r0": True}),  # takes r2's only duplicate away
    ],
    1_000,
)
@example(
    [
        *(Upsert("r0", 0, 1.0), Upsert("r1", 0, 1.0, {"r0": True})),
        Upsert("r2", 0, 1.0, {"r1": True, "r0": False}),
        Upsert("r2", 0, 1.0, {"r0": False}),  # the pair was there before, but nobody was asked
    ],
    1_000,
)
def test_a_person_is_shown_every_possible_pair_that_is_apart(steps: list[Step], max_size: int) -> None:
    store = MemoryClusters()
    shown: set[tuple[str, str]] = set()
    for change in play(store, steps, max_size=max_size):
        if isinstance(change, PossibleChange):
            pair = change.evidence.a, change.evidence.b
            shown = shown | {pair} if change.kind == "found" else shown - {pair}
    found = state(store)
    cluster_of = found.assignments
    pairs = {(e.a, e.b) for near in found.edges.values() for e in near.values()}
    assert shown == {(a, b) for a, b in pairs if a not in cluster_of or cluster_of[a] != cluster_of.get(b)}


@EXAMPLES
@given(lives(IDS))
def test_erasing_an_unknown_record_changes_nothing(steps: list[Step]) -> None:
    store = MemoryClusters()
    play(store, steps)
    before = state(store, [*IDS, "stranger"])
    again = MemoryClusters()
    changes = play(again, [*steps, Erase("stranger")])
    after = state(again, [*IDS, "stranger"])

    assert changes == play(MemoryClusters(), steps)
    assert after.erased.pop("stranger").offset == len(steps)
    assert after == before


def _connected(cluster: Cluster, found: Neighbourhood) -> bool:
    graph = Graph()
    graph.records = {record: Upsert(record, 0, 0.0) for record in cluster.members}
    graph.edges = {
        frozenset((edge.a, edge.b)): edge.joins
        for near in found.edges.values()
        for edge in near.values()
        if edge.a in cluster.members and edge.b in cluster.members
    }
    return graph.components() == {frozenset(cluster.members)}


@EXAMPLES
@given(disputed_lives(IDS), st.sampled_from([3, 1_000]), st.sampled_from([0.0, 0.5]))
def test_an_id_of_before_leads_to_the_cluster_that_lives(steps: list[Step], max_size: int, quorum: float) -> None:
    """By what the compacted topic says of it, in no more hops than there were merges."""
    store = MemoryClusters()
    lines = by_cluster(play(store, steps, max_size=max_size, quorum=quorum))
    merges = sum(
        change.kind == "dissolved" and change.merged_into is not None for ln in lines.values() for change in ln
    )
    renderer, found = EventRenderer("profile", SCOPE, "config"), store.clusters(SCOPE, list(lines))
    topic = {cid: value for cid, cluster in found.items() if (value := renderer.state(cid, cluster)) is not None}
    live = clusters(store)
    for old, line in lines.items():
        cid, hops = old, 0
        while cid in topic and (heir := orjson.loads(topic[cid]).get("merged_into")):
            cid, hops = heir, hops + 1
        assert hops <= merges
        assert (cid in live) == (cid in topic), "the end of the way lives, or fell apart"
        assert follow(store, SCOPE, old)[0][-1] == cid
        if old in live:
            assert hops == 0
            assert set(orjson.loads(topic[cid])["members"]) == live[old] == set(line[-1].members)


@EXAMPLES
@given(disputed_lives(IDS), st.sampled_from([3, 1_000]), st.sampled_from([0.0, 0.5]))
def test_a_change_of_the_record_to_keep_is_told_once_and_at_once(
    steps: list[Step], max_size: int, quorum: float
) -> None:
    for line in by_cluster(play(MemoryClusters(), steps, max_size=max_size, quorum=quorum)).values():
        for before, change, after in zip([None, *line], line, [*line[1:], None], strict=False):
            told = after is not None and after.kind == "exemplar_changed"
            if change.kind == "exemplar_changed":
                assert before is not None
                assert change.exemplar == before.exemplar != change.previous_exemplar
                assert (change.members, change.added, change.removed) == (before.members, (), ())
                assert not told
            elif before is None or change.exemplar is None:
                assert not told
            else:
                assert told == (change.exemplar != before.exemplar)
