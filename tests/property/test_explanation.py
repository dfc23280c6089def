"""What is explained agrees with what was decided, whatever lives the records had and whatever people said."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.explain import explain_names
from consumer.explanation import ClusterExplanation, Place, explain_pair
from consumer.prose import text_of
from consumer.records import ClusterChange
from tests.cluster_scenarios import DUPLICATE, SCOPE, Step, disputed_lives, names, play

PLACE = Place("profile", SCOPE)
RECORDS = names(7)
TOGETHER = {"threshold", "through_others", "person_same", "overruled"}
APART = {"absent", "possible", "no_evidence", "size_cap", "crowd", "quorum", "weak_bridge", "ruled_apart", "ambiguous"}


@given(disputed_lives(RECORDS), st.sampled_from([0.0, 0.5]), st.sampled_from([3, 100]))
@settings(max_examples=150)
def test_explanations_agree_with_the_clusters(steps: list[Step], quorum: float, max_size: int) -> None:
    store = MemoryClusters()
    changes = play(store, steps, quorum=quorum, max_size=max_size)
    known = store.known(SCOPE, RECORDS).records
    for a, b in combinations(RECORDS, 2):
        pair = explain_pair(store, PLACE, a, b, DUPLICATE)
        cluster = store.assignment(SCOPE, a)
        assert pair.together == (cluster is not None and cluster == store.assignment(SCOPE, b))
        assert pair.rule in (TOGETHER if pair.together else APART | {"person_different", "overruled"})
        assert bool(pair.path) == pair.together
        assert all(link.holds for link in pair.path)
        assert list(text_of(pair))
        for standing in (pair.left, pair.right):
            assert (standing.state == "known") == (standing.id in known)
    for cluster_id in {change.cluster_id for change in changes if isinstance(change, ClusterChange)}:
        told = explain_names(store, PLACE, [cluster_id], DUPLICATE)
        assert isinstance(told, ClusterExplanation)
        assert list(text_of(told))
        if not told.members:
            continue
        assert all(store.assignment(SCOPE, member.id) == told.id for member in told.members)
        assert told.keep == told.tree[0].id
        assert [branch.link is None for branch in told.tree].count(True) == 1, "one tree holds it together"
        assert all(store.assignment(SCOPE, record) == where for record, where in told.others.items())
