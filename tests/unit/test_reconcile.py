"""Told clusters beside replayed ones."""

from dataclasses import replace

import pytest

from consumer.records import Cluster, Erasure, Member, RecordState, Retired, Vector
from consumer.recovery.contents import Contents
from consumer.recovery.reconcile import NOWHERE, Reconciled, reconcile
from consumer.recovery.told import ToldCluster
from tests.factories import position, vector


def replayed(*clusters: list[str], alone: tuple[str, ...] = ()) -> Contents:
    """Records born in the order of their names, in clusters of the replay's own ids."""
    names = sorted([*(r for members in clusters for r in members), *alone])
    records = {r: RecordState(position(i), 100 + i, 0.5) for i, r in enumerate(names)}
    held = Contents(records=records)
    for members in clusters:
        cid = f"replayed-{members[0]}"
        found = {r: Member(records[r].born_ms, 0.5) for r in members}
        held.clusters[cid] = Cluster(cid, 1, records[members[0]].born_ms, found, members[0])
        held.assignments |= dict.fromkeys(members, cid)
    return held


def told(**clusters: tuple[int, list[str]]) -> dict[str, ToldCluster]:
    return {
        cid: ToldCluster(version, members, members[0], None, told_ms=order)
        for order, (cid, (version, members)) in enumerate(clusters.items())
    }


def made(held: Contents, said: dict[str, ToldCluster], **later: Vector | Erasure) -> Reconciled:
    return reconcile(held, said, later, dict[str, str]().get)


def test_told_clusters_stand_and_those_that_differ_are_judged_again() -> None:
    found = made(replayed(["a", "b"], ["c", "d"], ["e", "f"], alone=("g",)), told(x=(3, ["a", "b"]), y=(7, ["c", "g"])))
    clusters = found.contents.live
    assert {cid: (c.version, set(c.members)) for cid, c in clusters.items()} == {
        "x": (3, {"a", "b"}),
        "y": (7, {"c", "g"}),
    }
    assert found.contents.assignments == {"a": "x", "b": "x", "c": "y", "g": "y"}
    assert found.differing == ["c", "d", "e", "f", "g"]
    assert found.contents.redo == found.differing
    assert not found.lost


@pytest.mark.parametrize("founded_ms", [-5, 0, 5])
def test_a_cluster_goes_back_to_the_birth_of_a_founder_that_left(founded_ms: int) -> None:
    """Also to 1970, where all messages without a time come from."""
    held = replayed(["a", "b"])
    (cluster,) = held.live.values()
    held.clusters = {"x": replace(cluster, founded_ms=founded_ms)}
    assert made(held, told(x=(3, ["a", "b"]))).contents.live["x"].founded_ms == founded_ms


@pytest.mark.parametrize("born_ms", [-5, 0, 5])
def test_where_the_replay_has_no_such_cluster_that_of_the_founder_counts(born_ms: int) -> None:
    held = replayed(["a", "b"], alone=("f",))
    held.records["f"] = replace(held.records["f"], born_ms=born_ms)
    found = reconcile(held, told(x=(3, ["a", "b"])), {}, {"x": "f"}.get)
    assert found.contents.live["x"].founded_ms == born_ms


def test_a_member_whose_row_is_still_to_come_is_there_already() -> None:
    coming = vector("c", born_ms=999, quality=0.25)
    found = made(replayed(["a", "b"]), told(x=(2, ["a", "b", "c"])), c=coming)
    assert found.contents.records["c"] == RecordState(NOWHERE, 999, 0.25)
    assert (found.lost, found.differing) == ([], [])


def test_a_member_that_will_be_erased_is_there_until_then() -> None:
    found = made(replayed(["a", "b"]), told(x=(2, ["a", "b", "c"])), c=Erasure("c", position(9), 0))
    assert "c" in found.contents.records
    assert not found.lost


def test_a_member_that_nobody_knows_is_lost_and_stays_as_told() -> None:
    found = made(replayed(["a", "b"]), told(x=(2, ["a", "b", "c"])))
    assert found.lost == ["c"]
    assert set(found.contents.live["x"].members) == {"a", "b", "c"}


def test_an_id_that_ended_is_not_used_again() -> None:
    said = {"x": ToldCluster(4, (), None, "y", 0), "z": ToldCluster(2, (), None, None, 0, uncertain=True)}
    assert made(replayed(alone=("a",)), said).contents.clusters == {"x": Retired(4, "y"), "z": Retired(2, None)}


def test_a_record_told_in_two_clusters_is_in_the_last_and_the_other_is_told() -> None:
    found = made(replayed(["a", "b", "c", "d", "e"]), told(x=(3, ["a", "b", "c"]), y=(1, ["a", "d", "e"])))
    assert found.contents.assignments == {"b": "x", "c": "x", "a": "y", "d": "y", "e": "y"}
    assert [(c.cluster_id, c.version, c.kind) for c in found.owed] == [("x", 4, "split"), ("x", 5, "exemplar_changed")]
    assert found.contents.live["x"].version == 5
    assert found.contents.live["x"].exemplar == "b"


def test_a_cluster_of_which_all_went_elsewhere_ended_there() -> None:
    found = made(replayed(["a", "b", "c"]), told(x=(3, ["a", "b"]), y=(1, ["a", "b", "c"])))
    assert [(c.cluster_id, c.version, c.kind, c.merged_into) for c in found.owed] == [("x", 4, "dissolved", "y")]
    assert found.contents.clusters["x"] == Retired(4, "y")


def test_a_member_that_was_erased_leaves_and_the_cluster_is_told() -> None:
    held = replayed(["b", "c"])
    held.erased["a"] = position(7)
    found = made(held, told(x=(3, ["a", "b", "c"]), y=(1, ["a2", "a"])))
    assert "a" not in found.contents.records
    assert {(c.cluster_id, c.kind, c.version) for c in found.owed if c.cluster_id == "x"} == {
        ("x", "left", 4),
        ("x", "exemplar_changed", 5),
    }
    ended = next(c for c in found.owed if c.cluster_id == "y")
    assert (ended.kind, ended.removed, ended.merged_into) == ("dissolved", ["a", "a2"], None)
