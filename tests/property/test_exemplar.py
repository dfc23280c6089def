"""The record to keep: laws of the rule, against brute force."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.exemplar import Keeper, closeness
from consumer.records import Floats, Member
from tests.factories import unit_rows

DIM = 12


def keeper(alpha: float, vectors: dict[str, Floats]) -> Keeper:
    missing = np.zeros(DIM, np.float32)
    return Keeper(alpha, lambda ids: np.stack([vectors.get(record, missing) for record in ids]))


@st.composite
def clusters(draw: st.DrawFn, least: int = 1) -> tuple[dict[str, Member], dict[str, Floats]]:
    """Records with their vectors; some records have none, and some vectors are the same."""
    ids = draw(st.lists(st.text("abc", min_size=1, max_size=3), min_size=least, max_size=9, unique=True))
    members = {record: Member(draw(st.integers(0, 3)), draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))) for record in ids}
    pool = unit_rows(4, DIM, draw(st.integers(0, 50))) * np.float32(draw(st.sampled_from([0.5, 1.0])))
    place = st.none() | st.integers(0, 3)
    vectors = {record: pool[i] for record in ids if (i := draw(place)) is not None}
    return members, vectors


def best_quality(members: dict[str, Member]) -> str:
    return min(members, key=lambda r: (-members[r].quality, members[r].born_ms, r))


@given(clusters(), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.randoms())
def test_the_order_of_members_does_not_matter(
    cluster: tuple[dict[str, Member], dict[str, Floats]], alpha: float, chance: Random
) -> None:
    members, vectors = cluster
    kept = keeper(alpha, vectors)(members)
    assert kept in members
    names = list(members)
    chance.shuffle(names)
    assert keeper(alpha, vectors)({name: members[name] for name in names}) == kept


@given(clusters())
def test_with_alpha_0_quality_decides_alone(cluster: tuple[dict[str, Member], dict[str, Floats]]) -> None:
    members, vectors = cluster
    assert keeper(0.0, vectors)(members) == best_quality(members)


@given(clusters(), st.sampled_from([0.0, 0.7, 1.0]))
def test_without_vectors_quality_decides(cluster: tuple[dict[str, Member], dict[str, Floats]], alpha: float) -> None:
    members, _ = cluster
    assert keeper(alpha, {})(members) == best_quality(members)


@given(clusters(least=3), st.floats(0, 1))
def test_vectors_that_are_all_the_same_leave_it_to_quality(
    cluster: tuple[dict[str, Member], dict[str, Floats]], alpha: float
) -> None:
    members, _ = cluster
    row = unit_rows(1, DIM, 1)[0]
    # to five decimals, in which a score is rounded: the least difference of quality here is far above
    chosen = keeper(min(alpha, 0.99), dict.fromkeys(members, row))(members)
    assert chosen == best_quality(members)


@given(st.integers(0, 10_000), st.integers(3, 12))
def test_with_alpha_1_it_is_the_medoid(seed: int, n: int) -> None:
    rows = unit_rows(n, DIM, seed)
    vectors = {f"r{i}": row * np.float32(0.5 + i % 2) for i, row in enumerate(rows)}
    members = {name: Member(0, 0.5) for name in vectors}
    units = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    sums = (units @ units.T).sum(axis=1)
    kept = int(keeper(1.0, vectors)(members)[1:])
    assert sums[kept] >= sums.max() - 2e-5 * np.linalg.norm(units.sum(axis=0)), "the most alike to all, to the rounding"


@given(st.floats(0, 1), st.integers(0, 100), st.floats(0.1, 2))
def test_in_a_pair_quality_decides_whatever_the_vectors_say(alpha: float, seed: int, length: float) -> None:
    rows = unit_rows(2, DIM, seed)
    members = {"a": Member(0, 0.5), "b": Member(9, 0.6)}
    assert keeper(alpha, {"a": rows[0], "b": rows[1] * np.float32(length)})(members) == "b"


@given(clusters(), st.sampled_from([0.0, 0.3, 0.7]), st.data())
def test_a_better_copy_of_the_record_kept_takes_its_place(
    cluster: tuple[dict[str, Member], dict[str, Floats]], alpha: float, data: st.DataObject
) -> None:
    members, vectors = cluster
    kept = keeper(alpha, vectors)(members)
    better = {**members, kept: Member(members[kept].born_ms, 1.0)}
    assert keeper(alpha, vectors)(better) == kept, "more quality never costs a record its place"
    other = data.draw(st.sampled_from(sorted(members)))
    if other != kept:
        worse = {**members, other: Member(members[other].born_ms, 0.0)}
        assert keeper(alpha, vectors)(worse) == kept, "nor does less quality elsewhere"


def test_ties_go_to_quality_then_age_then_id() -> None:
    row = unit_rows(1, DIM, 3)[0]
    keep = keeper(1.0, dict.fromkeys("abcd", row))
    assert keep({"a": Member(1, 0.5), "b": Member(9, 0.9), "c": Member(0, 0.5)}) == "b"
    assert keep({"a": Member(5, 0.5), "b": Member(9, 0.5), "c": Member(4, 0.5)}) == "c"
    assert keep({"c": Member(5, 0.5), "b": Member(5, 0.5), "d": Member(5, 0.5)}) == "b"


def test_closeness_outweighs_quality_only_by_what_alpha_says() -> None:
    near, far = np.zeros(DIM, np.float32), np.zeros(DIM, np.float32)
    near[0] = 1
    far[:2] = 0.8, 0.6
    vectors = {"a": near, "b": near, "odd": far}
    members = {"a": Member(0, 0.5), "b": Member(1, 0.5), "odd": Member(2, 0.8)}
    # cosines with the centroid are .978 and .908: at alpha .7 that is .049 against .09 of quality, at .85 .059 against .045
    assert keeper(0.7, vectors)(members) == "odd"
    assert keeper(0.85, vectors)(members) == "a"


def test_a_record_without_a_vector_stands_with_the_farthest() -> None:
    rows = np.stack([*unit_rows(3, DIM, 5), np.zeros(DIM, np.float32)])
    found = closeness(rows)
    assert found[3] == found[:3].min()
    assert np.array_equal(found[:3], closeness(rows[:3]))


def test_vectors_that_cancel_out_have_no_centre() -> None:
    row = unit_rows(1, DIM, 5)
    assert closeness(np.concatenate([row, -row])) == pytest.approx([0, 0])
