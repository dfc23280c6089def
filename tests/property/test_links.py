"""The tree of a cluster's strongest links: laws, against brute force."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from consumer.links import Link, Word, hang, link_of, links_of, path_between
from consumer.ports import Neighbourhood
from consumer.records import Evidence, Match, Position, Saying, Verdict
from tests.factories import NOW_MS

RECORDS = list("abcdefg")
SAYINGS: list[Saying | None] = [None, None, None, "same", "different", "undecided"]


def word(a: str, b: str, says: Saying) -> Word:
    return Word(a, b, says, "Ann", NOW_MS)


@st.composite
def graphs(draw: st.DrawFn) -> list[Link]:
    """Links of any kind among a few records."""
    links = []
    for a, b in draw(st.lists(st.sampled_from(list(combinations(RECORDS, 2))), unique=True)):
        says = draw(st.sampled_from(SAYINGS))
        said = word(a, b, says) if says else None
        probability = draw(st.none() | st.sampled_from([0.6, 0.9, 0.99]))
        if probability is None:
            links.append(Link(a, b, word=said))
            continue
        duplicate, held = draw(st.booleans()), draw(st.sampled_from([None, None, "quorum"]))
        log_odds = draw(st.sampled_from([1.0, 2.0, 3.0]))
        links.append(Link(a, b, probability, duplicate, held, {}, {"x": log_odds}, log_odds, said))
    return links


def joined(links: list[Link]) -> dict[str, set[str]]:
    """What some links hold together, by flooding."""
    parts = {record: {record} for record in RECORDS}
    for link in links:
        both = parts[link.a] | parts[link.b]
        parts.update(dict.fromkeys(both, both))
    return parts


@given(graphs(), st.sampled_from(RECORDS))
def test_every_record_hangs_once_below_one_it_is_linked_with(links: list[Link], root: str) -> None:
    branches = hang(links, root, RECORDS)
    assert branches[0].id == root
    assert sorted(branch.id for branch in branches) == RECORDS
    above: list[str] = []
    for branch in branches:
        assert (branch.link is None) == (branch.depth == 0)
        del above[branch.depth :]
        if branch.link is not None:
            assert branch.link in links
            assert branch.link.holds
            assert branch.link.other(branch.id) == above[-1]
        above.append(branch.id)
    roots = [branch.id for branch in branches if branch.link is None]
    parts = joined([link for link in links if link.holds])
    assert len(roots) == len({frozenset(part) for part in parts.values()}), "one root for each part, no more"


@given(graphs())
def test_the_order_of_links_does_not_matter(links: list[Link]) -> None:
    assert hang(links, "a", RECORDS) == hang(links[::-1], "a", RECORDS)
    assert path_between(links, "a", "b") == path_between(links[::-1], "a", "b")


@given(graphs(), st.sampled_from(RECORDS), st.sampled_from(RECORDS))
def test_no_other_path_has_a_stronger_weakest_link(links: list[Link], a: str, b: str) -> None:
    path = path_between(links, a, b)
    holding = [link for link in links if link.holds]
    if a == b or b not in joined(holding)[a]:
        assert path == []
        return
    here = a
    for link in path:
        here = link.other(here)
    assert here == b
    weakest = min(link.strength for link in path)
    stronger = [link for link in holding if link.strength > weakest]
    assert b not in joined(stronger)[a]


@given(graphs())
def test_a_persons_word_goes_above_the_evidence(links: list[Link]) -> None:
    for link in links:
        said = link.word.says if link.word else None
        if said in {"same", "different"}:
            assert link.holds == (said == "same")
        else:
            assert link.holds == (link.duplicate and link.held is None)


def test_a_link_is_the_edge_and_the_word_from_either_side() -> None:
    match = Match("b", 0.9, duplicate=True, similarities={"x": 0.8}, contributions={"x": 2.5, "base": -0.3})
    said = Verdict("a", "b", "same", "Ann", 7, "s", Position("feedback", 0, 0), 8)
    near = Neighbourhood(
        edges={"a": {"b": Evidence("a", "b", match)}, "b": {"a": Evidence("a", "b", match)}},
        verdicts={"b": {"a": said, "c": said}},
    )
    alone, both = links_of(near, ["a"]), links_of(near, ["b"])
    assert alone == [link_of("b", "a", Evidence("a", "b", match), None)]
    assert (alone[0].a, alone[0].b, alone[0].log_odds, alone[0].word) == ("a", "b", 2.2, None)
    assert [(link.a, link.b, link.probability) for link in both] == [("a", "b", 0.9), ("b", "c", None)]
    assert both[0].word == Word("a", "b", "same", "Ann", 7)
