"""Scores against hand-computed and brute-force values, and the reader of events."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.evaluation import EventView, Scores, b_cubed, overlap, pairwise
from consumer.records import ClusterChange
from tests.cluster_scenarios import Step, lives, names, play

RECORDS = list("abcdefgh")
TRUTHS = st.fixed_dictionaries({r: st.integers(0, 3) for r in RECORDS})
FOUND = st.dictionaries(st.sampled_from([*RECORDS, "stranger"]), st.integers(0, 3))


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def close(scores: Scores, precision: float, recall: float) -> bool:
    wanted = (precision, recall, f1(precision, recall))
    return (scores.precision, scores.recall, scores.f1) == pytest.approx(wanted, abs=1e-4)


def test_the_example_of_bagga_and_baldwin() -> None:
    # three true clusters; the response joins the second and third
    truth = dict.fromkeys("12345", "x") | dict.fromkeys("67", "y") | dict.fromkeys("89abc", "z")
    joined_large = dict.fromkeys("12345", 1) | dict.fromkeys("6789abc", 2)
    assert close(
        b_cubed(truth, {**dict.fromkeys("12345", 1), **dict.fromkeys("67", 2), **dict.fromkeys("89abc", 1)}), 0.5833, 1
    )
    assert close(b_cubed(truth, joined_large), (5 * 1 + 2 * 2 / 7 + 5 * 5 / 7) / 12, 1)


def test_pairs_by_hand() -> None:
    truth = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 3}
    found = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "y"}
    # true: ab ac bc de; found: ab cd ce de; both: ab de
    assert close(pairwise(truth, found), 2 / 4, 2 / 4)


@pytest.mark.parametrize(
    ("truth", "found", "scores"),
    [
        ({}, {}, (1, 1, 1)),
        ({"a": 1, "b": 2}, {}, (1, 1, 1)),
        ({"a": 1, "b": 1}, {}, (1, 0, 0)),
        ({"a": 1, "b": 2}, {"a": 5, "b": 5}, (0, 1, 0)),
        ({"a": 1}, {"a": 5, "stranger": 5}, (1, 1, 1)),
    ],
)
def test_edges_of_pairs(truth: dict[str, int], found: dict[str, int], scores: tuple[float, float, float]) -> None:
    assert pairwise(truth, found) == Scores(*scores)


def test_b_cubed_of_nothing_and_of_records_left_alone() -> None:
    assert b_cubed({}, {}) == Scores(1, 1, 1)
    assert close(b_cubed({"a": 1, "b": 1}, {}), 1, 0.5)


def together(clusters: Mapping[str, Hashable], a: str, b: str) -> bool:
    return a == b or (a in clusters and b in clusters and clusters[a] == clusters[b])


@given(TRUTHS, FOUND, st.fixed_dictionaries({r: st.sampled_from("xy") for r in RECORDS}))
def test_pairs_across_sources_equal_counting_them(
    truth: dict[str, int], found: dict[str, int], sources: dict[str, str]
) -> None:
    across = [(a, b) for a, b in combinations(truth, 2) if sources[a] != sources[b]]
    true = [(a, b) for a, b in across if truth[a] == truth[b]]
    put = [(a, b) for a, b in across if together(found, a, b)]
    both = set(true) & set(put)
    wanted = (len(both) / len(put) if put else 1.0, len(both) / len(true) if true else 1.0)
    assert close(overlap(truth, found, sources).pairwise(), *wanted)


def test_bootstrap_intervals_hold_the_scores_and_narrow_with_more_clusters() -> None:
    def widths(clusters: int) -> list[float]:
        # every third cluster lost one of its three records
        truth = {f"{c}-{n}": c for c in range(clusters) for n in range(3)}
        found = {r: c for r, c in truth.items() if c % 3 or not r.endswith("-0")}
        counted = overlap(truth, found)
        pairs, cubes = counted.intervals(200, seed=1)
        assert counted.intervals(200, seed=1) == (pairs, cubes)
        for scores, intervals in ((counted.pairwise(), pairs), (counted.b_cubed(), cubes)):
            assert intervals["precision"].low == intervals["precision"].high == scores.precision == 1
            assert intervals["recall"].low < scores.recall < intervals["recall"].high
        return [i["recall"].high - i["recall"].low for i in (pairs, cubes)]

    few, many = widths(20), widths(500)
    assert all(wide > 2 * narrow for wide, narrow in zip(few, many, strict=True))


def test_bootstrap_of_nothing() -> None:
    assert overlap({}, {}).intervals(10, seed=1) == ({}, {})


@given(TRUTHS, FOUND)
def test_pairs_equal_counting_them(truth: dict[str, int], found: dict[str, int]) -> None:
    pairs = list(combinations(RECORDS, 2))
    right = sum(together(truth, *p) and together(found, *p) for p in pairs)
    said, true = sum(together(found, *p) for p in pairs), sum(together(truth, *p) for p in pairs)
    assert close(pairwise(truth, found), right / said if said else 1, right / true if true else 1)


@given(TRUTHS, FOUND)
def test_b_cubed_equals_the_mean_over_records(truth: dict[str, int], found: dict[str, int]) -> None:
    precisions, recalls = [], []
    for record in RECORDS:
        mine = {r for r in RECORDS if together(found, record, r)}
        true = {r for r in RECORDS if together(truth, record, r)}
        precisions.append(len(mine & true) / len(mine))
        recalls.append(len(mine & true) / len(true))
    assert close(b_cubed(truth, found), sum(precisions) / len(RECORDS), sum(recalls) / len(RECORDS))


@given(TRUTHS)
def test_the_truth_is_perfect_whatever_its_clusters_are_called(truth: dict[str, int]) -> None:
    renamed = {record: f"cluster {cluster}" for record, cluster in truth.items()}
    assert pairwise(truth, renamed) == b_cubed(truth, renamed) == Scores(1, 1, 1)


# The reader of events.


def event(cluster_id: str, version: int, added: Sequence[str] = (), removed: Sequence[str] = ()) -> dict[str, object]:
    return {"data": {"cluster_id": cluster_id, "version": version, "added": list(added), "removed": list(removed)}}


def read(events: Sequence[Mapping[str, object]]) -> EventView:
    view = EventView()
    for one in events:
        view.apply(one)
    return view


def test_a_life_of_a_cluster() -> None:
    view = EventView()
    assert view.apply(event("c", 1, ["a", "b"]))
    assert view.apply(event("c", 2, ["d"], ["a"]))
    assert view.clusters == {"c": {"b", "d"}}
    assert view.assignments == {"b": "c", "d": "c"}
    assert not view.apply(event("c", 1, ["a", "b"])), "seen"
    assert view.apply(event("c", 3, [], ["b", "d"]))
    assert view.clusters == {}
    assert not view.apply(event("c", 2, ["d"], ["a"])), "an ended cluster does not come back"
    assert not view.clusters
    assert not view.assignments
    assert view.gaps == []


def test_a_missed_event_is_told() -> None:
    view = read([event("c", 1, ["a", "b"]), event("c", 3, ["d"]), event("e", 2, ["x", "y"])])
    assert view.gaps == ["c: 1 → 3", "e: 0 → 2"]


@given(lives(names(6)), st.data())
def test_order_between_clusters_and_repeats_change_nothing(steps: list[Step], data: st.DataObject) -> None:
    store = MemoryClusters()
    changes = [c for c in play(store, steps) if isinstance(c, ClusterChange)]
    events = [event(c.cluster_id, c.version, c.added, c.removed) for c in changes]
    plain = read(events)
    assert plain.gaps == []
    by_cluster = {
        cid: [e for c, e in zip(changes, events, strict=True) if c.cluster_id == cid]
        for cid in {c.cluster_id for c in changes}
    }
    turns = data.draw(st.permutations([cid for cid, own in sorted(by_cluster.items()) for _ in own]))
    queues = {cid: iter(own) for cid, own in by_cluster.items()}
    shuffled = [next(queues[cid]) for cid in turns]
    repeats = data.draw(st.lists(st.integers(0, max(0, len(shuffled) - 1)), max_size=5)) if shuffled else []
    view = EventView()
    for i, one in enumerate(shuffled):
        view.apply(one)
        for j in repeats:
            if j <= i:
                assert not view.apply(shuffled[j])
    assert view.clusters == plain.clusters
    assert view.assignments == plain.assignments
    assert view.gaps == []
