"""Clusters kept row by row are those of a batch, and what people say is obeyed: `consumer.clusters` against its rule."""

from collections.abc import Iterable, Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.clusters import Change
from consumer.evidence import EvidenceGraph, Pair
from consumer.merging import AMBIGUOUS, RULED_APART, MergeRules
from consumer.partition import Partition, partition
from consumer.ports import Neighbourhood
from consumer.records import Member, PossibleChange
from consumer.redo import Repair
from consumer.words import Words
from tests.cluster_scenarios import SCOPE, Erase, Say, Step, Upsert, disputed_lives, likely_lives, names, play

IDS = names(9)
EXAMPLES = settings(max_examples=150)
QUORA = st.sampled_from([0.0, 0.34, 0.5, 1.0])
CAPS = st.sampled_from([3, 1_000])
NEIGHBOURS = st.sampled_from([1, 2, 1_000])
REPAIRS = st.builds(Repair, st.sampled_from([0, 3, 5, 1_000]), st.integers(0, 2))


def state(store: MemoryClusters) -> Neighbourhood:
    return store.read(SCOPE, IDS, [], edges=True)


def clusters(found: Neighbourhood) -> set[frozenset[str]]:
    return {frozenset(cluster.members) for cluster in found.clusters.values()}


def at_once(found: Neighbourhood, rules: MergeRules, ids: Iterable[str] | None = None) -> Partition:
    """The partition of all records, or of some, by the edges and words that a store ended with."""
    members = {r: Member(s.born_ms, s.quality) for r, s in found.records.items() if ids is None or r in ids}
    evidence, words = EvidenceGraph(), Words()
    evidence.load(found.edges)
    words.load(found.verdicts)
    return partition(members, evidence, words, rules)


def several(groups: Iterable[Iterable[str]]) -> set[frozenset[str]]:
    """Groups of two records or more."""
    return {frozenset(group) for group in groups if len(list(group)) > 1}


@EXAMPLES
@given(disputed_lives(IDS), QUORA, CAPS, NEIGHBOURS)
def test_clusters_are_those_of_all_records_at_once(steps: list[Step], quorum: float, cap: int, neighbours: int) -> None:
    store = MemoryClusters()
    play(store, steps, quorum=quorum, max_size=cap, neighbours=neighbours)
    found = state(store)
    whole = at_once(found, MergeRules(cap, quorum, neighbours))

    assert clusters(found) == several(whole.groups)
    held = {(e.a, e.b): e.held for near in found.edges.values() for e in near.values() if e.held}
    assert held == whole.held


@st.composite
def shuffled_inserts(draw: st.DrawFn) -> tuple[list[Step], list[Step]]:
    """The same records, probabilities and words in two orders; the later of two records finds the earlier."""
    ids = names(draw(st.integers(2, 8)))
    alike = {
        (a, b): draw(st.integers(0, 20)) / 20 for i, a in enumerate(ids) for b in ids[i + 1 :] if draw(st.booleans())
    }
    born = {record: draw(st.integers(0, 4)) for record in ids}

    def in_order(order: Sequence[str]) -> list[Step]:
        steps: list[Step] = []
        for i, record in enumerate(order):
            near = {o: alike.get((min(o, record), max(o, record)), 0.0) for o in order[:i]}
            steps.append(Upsert(record, born[record], 0.5, {o: p for o, p in near.items() if p}))
        return steps

    return in_order(draw(st.permutations(ids))), in_order(draw(st.permutations(ids)))


@EXAMPLES
@given(shuffled_inserts(), st.sets(st.integers(1, 8)), QUORA, CAPS, NEIGHBOURS)
def test_order_of_arrival_does_not_matter(
    orders: tuple[list[Step], list[Step]], cuts: set[int], quorum: float, cap: int, neighbours: int
) -> None:
    one, other = MemoryClusters(), MemoryClusters()
    play(one, orders[0], quorum=quorum, max_size=cap, neighbours=neighbours)
    play(other, orders[1], quorum=quorum, max_size=cap, neighbours=neighbours, cuts=cuts)
    assert clusters(state(one)) == clusters(state(other))


@EXAMPLES
@given(likely_lives(IDS), QUORA, CAPS, NEIGHBOURS, st.data())
def test_some_whole_clusters_part_into_themselves(
    steps: list[Step], quorum: float, cap: int, neighbours: int, data: st.DataObject
) -> None:
    store = MemoryClusters()
    play(store, steps, quorum=quorum, max_size=cap, neighbours=neighbours)
    rules, found = MergeRules(cap, quorum, neighbours), state(store)
    groups = at_once(found, rules).groups
    some = [group for group in groups if data.draw(st.booleans())]
    assert at_once(found, rules, set[str]().union(*some)).groups == some


@EXAMPLES
@given(disputed_lives(IDS), st.sets(st.integers(1, 30)), QUORA, CAPS, REPAIRS, st.booleans())
def test_batching_changes_nothing(
    steps: list[Step], cuts: set[int], quorum: float, cap: int, repair: Repair, eager: bool
) -> None:
    single, batched = MemoryClusters(), MemoryClusters()
    one_by_one = play(single, steps, quorum=quorum, max_size=cap, repair=repair)
    in_batches = play(batched, steps, quorum=quorum, max_size=cap, repair=repair, cuts=cuts, eager=eager)
    assert one_by_one == in_batches
    assert state(single) == state(batched)
    assert single.read(SCOPE, [], redo=99).redo == batched.read(SCOPE, [], redo=99).redo


@EXAMPLES
@given(disputed_lives(IDS), QUORA, CAPS, REPAIRS)
def test_a_person_is_asked_about_just_the_pairs_that_are_apart(
    steps: list[Step], quorum: float, cap: int, repair: Repair
) -> None:
    store = MemoryClusters()
    shown = asked(play(store, steps, quorum=quorum, max_size=cap, repair=repair))
    found = state(store)
    apart: dict[Pair, str | None] = {}
    for near in found.edges.values():
        for edge in near.values():
            word = found.verdicts.get(edge.a, {}).get(edge.b)
            together = edge.a in found.assignments and found.assignments[edge.a] == found.assignments.get(edge.b)
            assert edge.joins == (edge.match.duplicate and together)
            if not together and (word is None or word.says != "different"):
                apart[edge.a, edge.b] = edge.held
    assert shown == apart


def asked(changes: Iterable[Change]) -> dict[Pair, str | None]:
    """What a subscriber of the possible duplicates has open, with why each is held."""
    shown: dict[Pair, str | None] = {}
    for change in changes:
        if isinstance(change, PossibleChange):
            pair = change.evidence.a, change.evidence.b
            if change.kind == "withdrawn":
                del shown[pair]
            else:
                assert shown.get(pair, "never") != change.evidence.held
                shown[pair] = change.evidence.held
    return shown


# what people say


def last_words(steps: Iterable[Step]) -> dict[Pair, str]:
    """The last word on each pair, as far as an erasure did not take it away; what was said last comes last."""
    words: dict[Pair, str] = {}
    erased: set[str] = set()
    for step in steps:
        if isinstance(step, Upsert):
            erased.discard(step.id)
        elif isinstance(step, Erase):
            words = {pair: says for pair, says in words.items() if step.id not in pair}
            erased.add(step.id)
        elif not erased & {step.a, step.b}:
            words.pop((step.a, step.b), None)
            words[step.a, step.b] = step.says
    return words


@EXAMPLES
@given(disputed_lives(IDS), QUORA, CAPS, REPAIRS)
@example([Say("r0", "r1", "different"), Upsert("r0", 0, 1.0), Upsert("r1", 0, 1.0, {"r0": 1.0})], 0.0, 3, Repair(0, 0))
def test_the_newest_words_are_obeyed(steps: list[Step], quorum: float, cap: int, repair: Repair) -> None:
    store = MemoryClusters()
    play(store, steps, quorum=quorum, max_size=cap, repair=repair)
    found = state(store)
    one: dict[str, set[str]] = {record: {record} for record in found.records}
    parted: list[Pair] = []
    for (a, b), says in reversed(last_words(steps).items()):
        if says == "undecided" or not {a, b} <= found.records.keys():
            continue
        together = a in found.assignments and found.assignments[a] == found.assignments.get(b)
        if says == "different" and b not in one[a]:
            parted.append((a, b))
            assert not together
        if says == "same" and not any({x, y} <= one[a] | one[b] for x, y in parted):
            assert together
            both = one[a] | one[b]
            one.update(dict.fromkeys(both, both))


@EXAMPLES
@given(disputed_lives(IDS), QUORA, CAPS)
def test_what_is_taken_back_was_never_said(steps: list[Step], quorum: float, cap: int) -> None:
    said, silent = MemoryClusters(), MemoryClusters()
    back = [Say(a, b, "undecided") for a, b in last_words(steps)]
    play(said, [*steps, *back], quorum=quorum, max_size=cap)
    play(silent, [step for step in steps if not isinstance(step, Say)], quorum=quorum, max_size=cap)
    assert clusters(state(said)) == clusters(state(silent))


PAIR: list[Step] = [Upsert("r0", 0, 1.0), Upsert("r1", 1, 1.0, {"r0": True})]


def held(store: MemoryClusters) -> dict[Pair, str | None]:
    return {(e.a, e.b): e.held for near in state(store).edges.values() for e in near.values() if e.held}


def test_a_wrong_merge_is_undone_by_one_word_and_never_comes_back() -> None:
    store = MemoryClusters()
    play(store, [*PAIR, Say("r0", "r1", "different")])
    assert clusters(state(store)) == set()
    assert held(store) == {("r0", "r1"): RULED_APART}
    play(store, [Upsert("r1", 1, 1.0, {"r0": True}), Upsert("r0", 1, 1.0, {"r1": 0.99})], start=3)
    assert clusters(state(store)) == set()


def test_who_is_like_two_that_differ_joins_neither_until_a_person_says_which() -> None:
    store = MemoryClusters()
    third = Upsert("r2", 2, 1.0, {"r0": 0.9, "r1": 0.8})
    play(store, [*PAIR, Say("r0", "r1", "different"), third], quorum=0.5)
    assert clusters(state(store)) == set()
    assert held(store) == {("r0", "r1"): RULED_APART, ("r0", "r2"): AMBIGUOUS, ("r1", "r2"): AMBIGUOUS}
    play(store, [Say("r1", "r2", "same")], quorum=0.5, start=4)
    assert clusters(state(store)) == {frozenset({"r1", "r2"})}
    assert held(store) == {("r0", "r1"): RULED_APART, ("r0", "r2"): RULED_APART}


def test_the_same_goes_above_size_and_quorum_and_beyond_what_is_alike() -> None:
    store = MemoryClusters()
    two = [*PAIR, Upsert("r2", 0, 1.0), Upsert("r3", 1, 1.0, {"r2": True})]
    play(store, [*two, Say("r1", "r3", "same")], quorum=1.0, max_size=2)
    assert clusters(state(store)) == {frozenset({"r1", "r3"})}, "the rest may not join beyond the size"
    play(store, [Say("r0", "r1", "same"), Say("r2", "r3", "same")], quorum=1.0, max_size=2, start=5)
    assert clusters(state(store)) == {frozenset(names(4))}


def test_of_words_that_contradict_each_other_the_oldest_gives_way() -> None:
    store = MemoryClusters()
    strangers: list[Step] = [Upsert(record, 0, 1.0) for record in names(3)]
    words = [Say("r0", "r1", "same"), Say("r1", "r2", "same"), Say("r0", "r2", "different")]
    play(store, [*strangers, *words])
    assert clusters(state(store)) == {frozenset({"r1", "r2"})}
    play(store, [Say("r0", "r1", "same")], start=6)
    assert clusters(state(store)) == {frozenset({"r0", "r1"})}


def test_an_erasure_takes_the_words_along() -> None:
    store = MemoryClusters()
    play(store, [*PAIR, Say("r0", "r1", "different"), Erase("r1"), Say("r0", "r1", "different")])
    assert not any(state(store).verdicts.values())
    play(store, [Upsert("r1", 0, 1.0, {"r0": True})], start=5)
    assert clusters(state(store)) == {frozenset({"r0", "r1"})}


def test_a_late_copy_of_an_older_word_counts_for_nothing() -> None:
    store = MemoryClusters()
    play(store, [*PAIR, Say("r0", "r1", "different"), Say("r0", "r1", "undecided")])
    assert clusters(state(store)) == {frozenset({"r0", "r1"})}
    assert play(store, [Say("r0", "r1", "different", at=2)], start=4) == []
    assert clusters(state(store)) == {frozenset({"r0", "r1"})}
