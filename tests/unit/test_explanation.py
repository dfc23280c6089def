"""What the store says of pairs, records and clusters, and how it is told to a person."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from consumer import merging
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.errors import SettingsError
from consumer.explain import Explanation, explain_names
from consumer.explanation import ClusterExplanation, PairExplanation, Place, RecordExplanation
from consumer.ports import ClusterStore
from consumer.prose import RULES, printable, text_of
from consumer.records import (
    Cluster,
    Evidence,
    Match,
    Member,
    Position,
    RecordState,
    Retired,
    Saying,
    ScopeUpdate,
    Verdict,
)

PLACE = Place("person", "default")
DAY_MS = 24 * 3600 * 1000


def edge(a: str, b: str, probability: float = 0.95, held: str | None = None, *, duplicate: bool = True) -> Evidence:
    match = Match(b, probability, duplicate, {"name": 0.9, "city": 1.0}, {"name": 2.0, "city": 1.0, "base": -0.5})
    return Evidence(a, b, match, held)


def verdict(a: str, b: str, says: Saying, said_ms: int = 0) -> Verdict:
    return Verdict(a, b, says, "Ann", said_ms, PLACE.scope, Position("feedback", 0, 0), said_ms)


def store_of(
    groups: Mapping[str, Iterable[str]] | None = None,
    edges: Iterable[Evidence] = (),
    words: Iterable[Verdict] = (),
    alone: Iterable[str] = (),
    **changes: Any,
) -> ClusterStore:
    """A store that holds these. Records are born a day after each other, each of better quality than the last."""
    given = {cid: list(members) for cid, members in (groups or {}).items()}
    named = [*(r for members in given.values() for r in members), *alone]
    members = {r: Member(i * DAY_MS, (i + 1) / 10) for i, r in enumerate(named)}
    said: dict[str, dict[str, Verdict]] = {}
    for one in words:
        said.setdefault(one.a, {})[one.b] = said.setdefault(one.b, {})[one.a] = one
    content: dict[str, Any] = {
        "records": {r: RecordState(Position("persons", 0, 0), m.born_ms, m.quality) for r, m in members.items()},
        "assignments": {r: cid for cid, found in given.items() for r in found},
        "clusters": {
            cid: Cluster(cid, 3, 0, {r: members[r] for r in found}, found[-1]) for cid, found in given.items()
        },
        "members_put": given,
        "members_dropped": {},
        "edges": list(edges),
        "edges_dropped": [],
        "erased": {},
        "outbox": [],
        "verdicts": said,
    }
    store = MemoryClusters()
    epoch = store.take_epoch(0)
    store.claim(PLACE.scope, 0, epoch)
    store.apply(PLACE.scope, 0, epoch, 0, ScopeUpdate(**{**content, **changes}))
    return store


def pair(store: ClusterStore, a: str = "a", b: str = "b") -> PairExplanation:
    explained = explain_names(store, PLACE, [a, b], 0.5)
    assert isinstance(explained, PairExplanation)
    swapped = explain_names(store, PLACE, [b, a], 0.5)
    assert isinstance(swapped, PairExplanation)
    assert (swapped.rule, swapped.link, swapped.together) == (explained.rule, explained.link, explained.together)
    return explained


def text(explained: Explanation) -> str:
    return "\n".join(text_of(explained))


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (store_of({"c1": "ab"}, [edge("a", "b")]), "threshold"),
        (store_of({"c1": "abc"}, [edge("a", "c"), edge("b", "c")]), "through_others"),
        (
            store_of({"c1": "abc"}, [edge("a", "c"), edge("b", "c"), edge("a", "b", 0.3, duplicate=False)]),
            "through_others",
        ),
        (store_of(edges=[edge("a", "b", 0.3, duplicate=False)], alone="ab"), "possible"),
        (store_of(edges=[edge("a", "b", 0.8, duplicate=False)], alone="ab"), "min_evidence"),
        *(
            (store_of({"c1": "ac", "c2": "bd"}, [edge("a", "b", held=held)]), held)
            for held in (
                merging.SIZE_CAP,
                merging.CROWD,
                merging.QUORUM,
                merging.WEAK_BRIDGE,
                merging.RULED_APART,
                merging.AMBIGUOUS,
            )
        ),
        (store_of({"c1": "ab"}, words=[verdict("a", "b", "same")]), "person_same"),
        (store_of({"c1": "ab"}, [edge("a", "b")], [verdict("a", "b", "same")]), "person_same"),
        (store_of(alone="ab", edges=[edge("a", "b")], words=[verdict("a", "b", "different")]), "person_different"),
        (store_of({"c1": "abc"}, words=[verdict("a", "b", "different")]), "overruled"),
        (store_of({"c1": "ac", "c2": "bd"}, words=[verdict("a", "b", "same")]), "overruled"),
        (store_of({"c1": "ab"}, [edge("a", "b")], [verdict("a", "b", "undecided")]), "threshold"),
        (store_of(alone="ab"), "no_evidence"),
        (store_of(alone="ab", words=[verdict("a", "b", "undecided")]), "no_evidence"),
        (store_of(alone="a", erased={"b": Position("persons", 0, 9)}), "absent"),
        (store_of(alone="a", words=[verdict("a", "b", "same")]), "absent"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_rule_that_decided_is_named(store: ClusterStore, rule: str) -> None:
    explained = pair(store)
    assert explained.rule == rule
    assert RULES[rule] in text(explained)


def test_the_documentation_has_every_rule_in_the_same_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    told = [line for line in page.splitlines() if line.startswith("| `")]
    assert told == [f"| `{rule}` | {sentence} |" for rule, sentence in RULES.items()]


def test_contributions_are_shown_with_their_sum() -> None:
    explained = pair(store_of({"c1": "ab"}, [edge("a", "b")]))
    assert explained.link is not None
    assert explained.link.log_odds == sum(explained.link.contributions.values()) == 2.5
    lines = text(explained).splitlines()
    assert lines[0] == "a and b are one: cluster c1 in person/default"
    assert [line.split() for line in lines[-5:]] == [
        ["similarity", "log-odds"],
        ["name", "0.90", "+2.00"],
        ["city", "1.00", "+1.00"],
        ["base", "-0.50"],
        ["sum", "+2.50", "probability", "0.9500"],
    ]


@pytest.mark.parametrize(("certain", "rule"), [(0.5, "min_evidence"), (0.8, "min_evidence"), (0.81, "possible")])
def test_what_is_probable_enough_depends_on_what_decides(certain: float, rule: str) -> None:
    store = store_of(edges=[edge("a", "b", 0.8, duplicate=False)], alone="ab")
    explained = explain_names(store, PLACE, ["a", "b"], certain)
    assert isinstance(explained, PairExplanation)
    assert explained.rule == rule


def test_what_was_compared_and_not_weighed_is_shown_too() -> None:
    match = Match("b", 0.9, duplicate=True, similarities={"name": 0.9, "hash": 0.25}, contributions={"base": 2.2})
    lines = text(pair(store_of({"c1": "ab"}, [Evidence("a", "b", match)]))).splitlines()
    assert [line.split() for line in lines[-4:]] == [
        ["base", "+2.20"],
        ["name", "0.90"],
        ["hash", "0.25"],
        ["sum", "+2.20", "probability", "0.9000"],
    ]


def test_records_that_are_one_through_others_show_the_strongest_way() -> None:
    edges = [edge("a", "c", 0.9), edge("b", "c", 0.8), edge("a", "d", 0.7), edge("b", "d", 0.99)]
    explained = pair(store_of({"c1": "abcd"}, edges))
    assert [(link.a, link.b) for link in explained.path] == [("a", "c"), ("b", "c")]
    assert "a and c  0.90 = name +2.00, city +1.00, base -0.50" in text(explained)


def test_what_people_said_between_two_clusters_is_shown_with_who_and_when() -> None:
    words = [verdict("c", "d", "different", 1_760_000_000_000), verdict("a", "c", "same")]
    held = [edge("a", "b", held=merging.RULED_APART)]
    explained = pair(store_of({"c1": "ac", "c2": "bd"}, held, words))
    assert [(w.a, w.b, w.says, w.by) for w in explained.words] == [("c", "d", "different", "Ann")]
    assert "c and d: Ann said `different` on 2025-10-09 08:53 UTC" in text(explained)


def test_the_word_that_makes_it_ambiguous_is_shown() -> None:
    words = [verdict("b", "x", "different"), verdict("a", "y", "same"), verdict("b", "z", "undecided")]
    explained = pair(store_of({"c1": "ac"}, [edge("a", "b", held=merging.AMBIGUOUS)], words, alone="bxy"))
    assert [(word.a, word.b) for word in explained.words] == [("b", "x")]


def test_a_record_that_is_not_there_is_said_to_be_so() -> None:
    erased = {"b": Position("persons", 0, 9)}
    spoken_of = store_of(alone="a", words=[verdict("a", "b", "different")])
    assert pair(spoken_of).right.state == "unknown"
    assert "b: not in the store" in text(pair(spoken_of))
    assert "b: erased not long ago" in text(pair(store_of(alone="a", erased=erased)))
    with pytest.raises(SettingsError, match=r"a: neither a cluster nor a record of person/default; check the id"):
        explain_names(store_of(), PLACE, ["a"], 0.5)
    with pytest.raises(SettingsError, match=r"b: no record of person/default; check the id"):
        explain_names(store_of(alone="a"), PLACE, ["a", "b"], 0.5)
    with pytest.raises(SettingsError, match=r"a and b: no record of person/default; check the id"):
        explain_names(store_of(), PLACE, ["a", "b"], 0.5)
    with pytest.raises(SettingsError, match="named twice"):
        explain_names(store_of(alone="a"), PLACE, ["a", "a"], 0.5)


def test_a_cluster_is_a_tree_of_its_strongest_links_below_the_record_to_keep() -> None:
    edges = [edge("a", "d", 0.9), edge("b", "d", 0.8), edge("c", "d", 0.6), edge("b", "c", 0.95)]
    edges += [edge("a", "e", held=merging.QUORUM), edge("c", "x", 0.4, duplicate=False)]
    store = store_of({"c1": "abcd", "c2": "ef"}, edges, alone="x")
    explained = explain_names(store, PLACE, ["c1"], 0.5)
    assert isinstance(explained, ClusterExplanation)
    assert explain_names(store, PLACE, ["b"], 0.5) == explained, "a record names its cluster"
    assert [(branch.id, branch.depth) for branch in explained.tree] == [("d", 0), ("a", 1), ("b", 1), ("c", 2)]
    assert [member.id for member in explained.members] == list("abcd")
    assert (explained.keep, explained.kept_for, explained.version) == ("d", "quality", 3)
    assert [(link.a, link.b, link.held) for link in explained.links] == [("a", "e", "quorum"), ("c", "x", None)]
    assert explained.others == {"e": "c2"}
    lines = text(explained).splitlines()
    assert lines[0] == "c1 in person/default, version 3, 4 records"
    assert [line.split("  ")[1] for line in lines[2:6]] == ["d", "├─ a", "└─ b", ""]
    assert lines[5].startswith("     └─ c  born 1970-01-03, quality 0.300  0.95 = ")
    assert lines[2].endswith("← keep")
    assert "keep d: the best quality, 0.400; next is c with 0.300" in lines
    assert lines[-2].startswith("  e of c2  0.95 = ")
    assert lines[-2].endswith("held: quorum  (from a)")
    assert lines[-1].endswith("possible  (from c)")


@pytest.mark.parametrize(
    ("qualities", "births", "kept_for"),
    [
        ((0.5, 0.9, 0.8), (0, 0, 0), "quality"),
        ((0.5, 0.8, 0.9), (0, 0, 0), "closeness"),
        ((0.5, 0.9, 0.9), (0, 0, 0), "age"),
        ((0.5, 0.9, 0.9), (0, 1, 2), "age"),
        ((0.5, 0.9, 0.9), (0, 2, 1), "closeness"),
    ],
)
def test_why_a_record_is_kept(qualities: tuple[float, ...], births: tuple[int, ...], kept_for: str) -> None:
    members = {r: Member(born, quality) for r, born, quality in zip("abc", births, qualities, strict=True)}
    store = store_of(
        {"c1": "abc"}, [edge("a", "b"), edge("b", "c")], clusters={"c1": Cluster("c1", 1, 0, members, "b")}
    )
    explained = explain_names(store, PLACE, ["c1"], 0.5)
    assert isinstance(explained, ClusterExplanation)
    assert explained.kept_for == kept_for
    assert "keep b: " in text(explained)


def test_a_retired_id_leads_to_the_cluster_that_lives() -> None:
    retired = {"c8": Retired(4, "c9"), "c9": Retired(2, "c1"), "c7": Retired(5, None)}
    living = Cluster("c1", 3, 0, {"a": Member(0, 0.1), "b": Member(1, 0.2)}, "b")
    store = store_of({"c1": "ab"}, [edge("a", "b")], clusters={"c1": living, **retired})
    explained = explain_names(store, PLACE, ["c8"], 0.5)
    assert isinstance(explained, ClusterExplanation)
    assert (explained.forwarded, explained.id) == (["c8", "c9"], "c1")
    assert text(explained).splitlines()[:2] == ["c8 was merged into c9", "c9 was merged into c1"]
    ended = explain_names(store, PLACE, ["c7"], 0.5)
    assert isinstance(ended, ClusterExplanation)
    assert (ended.members, ended.forwarded) == ((), [])
    assert text(ended) == "c7 in person/default ended with version 5; its records went different ways"


def test_a_record_alone_shows_what_it_is_not_one_with() -> None:
    edges = [edge("a", f"m{i:02}", 0.3 + i / 100, duplicate=False) for i in range(12)]
    store = store_of({"c1": ["m00", "n"]}, edges, alone=["a", *(f"m{i:02}" for i in range(1, 12))])
    explained = explain_names(store, PLACE, ["a"], 0.5)
    assert isinstance(explained, RecordExplanation)
    assert [link.b for link in explained.links] == [f"m{i:02}" for i in reversed(range(12))]
    assert explained.others == {"m00": "c1"}
    lines = text(explained).splitlines()
    assert lines[0] == "a: stands alone, born 1970-01-03, quality 0.300 in person/default"
    assert lines[-1] == "  and 2 more: --json has them all"


def test_a_pair_that_people_alone_hold_together_hangs_on_their_word() -> None:
    explained = explain_names(store_of({"c1": "ab"}, words=[verdict("a", "b", "same")]), PLACE, ["c1"], 0.5)
    assert "Ann said `same` on 1970-01-01 00:00 UTC" in text(explained).splitlines()[3]


def test_an_id_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\né語 🦊") == "a\\x1b[2Jb\\né語 🦊"
    nasty = "x\x1b]0;y\x07"
    assert "\x1b" not in text(explain_names(store_of(alone=[nasty]), PLACE, [nasty], 0.5))


def test_a_birth_before_the_year_1_is_shown_as_the_first_there_is() -> None:
    members = {"a": Member(-253_402_300_799_000, 0.5), "b": Member(0, 0.4)}
    store = store_of({"c1": "ab"}, [edge("a", "b")], clusters={"c1": Cluster("c1", 1, 0, members, "a")})
    assert "born 0001-01-01" in text(explain_names(store, PLACE, ["c1"], 0.5))
