"""Which cluster id survives, as a table: what happened → the clusters there are and where the other ids lead.

A cluster is written as the record its id was minted from. `aN` was born at N milliseconds, whenever it arrives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.records import Cluster, ClusterChange, Retired
from tests.cluster_scenarios import MINT, SCOPE, Erase, Say, Step, Upsert, play


def arrive(record: str, *duplicates: str) -> Upsert:
    return Upsert(record, int(record[1:]), 1.0, dict.fromkeys(duplicates, True))


@dataclass(frozen=True, slots=True)
class Story:
    steps: Sequence[Step]
    live: Mapping[str, str]
    """Founder → members."""
    ended: Mapping[str, str | None] = field(default_factory=dict)
    """Founder → founder of the cluster that took over."""


TWO = [arrive("a1"), arrive("a2", "a1"), arrive("a3"), arrive("a4", "a3")]
STORIES = {
    "the id is minted from the oldest record": Story([arrive("a2"), arrive("a1", "a2")], {"a1": "a1 a2"}),
    "the older id survives a merge and the other leads to it": Story(
        [*TWO, arrive("a5", "a1", "a3")], {"a1": "a1 a2 a3 a4 a5"}, {"a3": "a1"}
    ),
    "also where the younger cluster is the larger, and came first": Story(
        [
            arrive("a4"),
            arrive("a5", "a4"),
            arrive("a6", "a4"),
            arrive("a2"),
            arrive("a3", "a2"),
            arrive("a9", "a2", "a4"),
        ],
        {"a2": "a2 a3 a4 a5 a6 a9"},
        {"a4": "a2"},
    ),
    "a record older than a cluster that it joins renames it": Story(
        [arrive("a2"), arrive("a3", "a2"), arrive("a1", "a2")], {"a1": "a1 a2 a3"}, {"a2": "a1"}
    ),
    "an id stays with what remains when its record leaves": Story(
        [arrive("a1"), arrive("a2", "a1"), arrive("a3", "a1", "a2"), arrive("a1")], {"a1": "a2 a3"}
    ),
    "and when it is erased": Story(
        [arrive("a1"), arrive("a2", "a1"), arrive("a3", "a1", "a2"), Erase("a1")], {"a1": "a2 a3"}
    ),
    "in a split the part with the oldest remaining record keeps it": Story(
        [*TWO, arrive("a5", "a1", "a3"), arrive("a5")], {"a1": "a1 a2", "a3 again": "a3 a4"}, {"a3": "a1"}
    ),
    "though the record it was minted from is in the other part": Story(
        [arrive("a2"), arrive("a3", "a2"), arrive("a4", "a3"), arrive("a5", "a4"), Say("a3", "a4", "different")],
        {"a2": "a2 a3", "a4": "a4 a5"},
    ),
    "a cluster that falls into single records ends, and leads nowhere": Story(
        [arrive("a1"), arrive("a2", "a1"), Say("a1", "a2", "different")], {}, {"a1": None}
    ),
    "its records found a new id when they meet again": Story(
        [arrive("a1"), arrive("a2", "a1"), arrive("a2"), arrive("a2", "a1")], {"a1 again": "a1 a2"}, {"a1": None}
    ),
    "an erased record that comes again founds anew, and never bears an id of before": Story(
        [arrive("a1"), arrive("a2", "a1"), Erase("a1"), Erase("a2"), arrive("a1"), arrive("a2", "a1")],
        {"a1 again": "a1 a2"},
        {"a1": None},
    ),
    "it joins a cluster that bears its id as any other record does": Story(
        [arrive("a1"), arrive("a2", "a1"), arrive("a3", "a1", "a2"), Erase("a1"), arrive("a1", "a2")],
        {"a1": "a1 a2 a3"},
    ),
    "an id leads on where its heir is merged too": Story(
        [
            *(arrive("a5"), arrive("a6", "a5"), arrive("a3"), arrive("a4", "a3"), arrive("a7", "a3", "a5")),
            *(arrive("a1"), arrive("a2", "a1"), arrive("a8", "a1", "a3")),
        ],
        {"a1": "a1 a2 a3 a4 a5 a6 a7 a8"},
        {"a5": "a3", "a3": "a1"},
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_survivors(story: Story) -> None:
    store = MemoryClusters()
    changes = [c for c in play(store, story.steps) if isinstance(c, ClusterChange)]
    named = {MINT(f"a{n}"): f"a{n}" for n in range(1, 10)}
    named |= {c.cluster_id: f"{c.members[0]} again" for c in changes if c.cluster_id not in named}
    found = store.clusters(SCOPE, sorted({c.cluster_id for c in changes}))

    live = {named[cid]: " ".join(sorted(c.members)) for cid, c in found.items() if isinstance(c, Cluster)}
    ended = {named[cid]: named.get(c.merged_into or "") for cid, c in found.items() if isinstance(c, Retired)}
    assert (live, ended) == (story.live, story.ended)


def test_of_two_records_as_old_as_each_other_the_lesser_minted_id_founds() -> None:
    orders = (("x", "y"), ("y", "x"))
    for first, second in orders:
        store = MemoryClusters()
        play(store, [Upsert(first, 7, 1.0), Upsert(second, 7, 1.0, {first: True})])
        assert store.assignment(SCOPE, "x") == min(MINT("x"), MINT("y"))
