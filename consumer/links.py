"""What is stored between two records, and what many such links hold together: the tree of the strongest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.ports import Neighbourhood
from consumer.records import Evidence, Saying, Verdict


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said last of two records."""

    a: str
    b: str
    says: Saying
    by: str
    said_ms: int


@dataclass(frozen=True, slots=True)
class Link:
    """Two records, `a` < `b`: the evidence, or a person's word, or both."""

    a: str
    b: str
    probability: float | None = None
    """None where nothing is stored but the word."""
    duplicate: bool = False
    held: str | None = None
    """Why a duplicate did not bring its records together."""
    similarities: Mapping[str, float] = field(default_factory=dict)
    contributions: Mapping[str, float] = field(default_factory=dict)
    log_odds: float | None = None
    """Sum of the contributions: the logit of the probability."""
    word: Word | None = None

    @property
    def holds(self) -> bool:
        """Whether it is a reason for its records to be in one cluster."""
        said = self.word.says if self.word else "undecided"
        return said == "same" or (said != "different" and self.duplicate and self.held is None)

    @property
    def strength(self) -> tuple[bool, float, float]:
        """A person's word goes above evidence; log-odds tell apart what rounds to the same probability."""
        said = self.word is not None and self.word.says == "same"
        return said, self.probability or 0.0, self.log_odds or 0.0

    def other(self, record_id: str) -> str:
        return self.b if record_id == self.a else self.a


@dataclass(frozen=True, slots=True)
class Branch:
    """A member of a cluster, hung below the member that its strongest link leads to."""

    id: str
    depth: int
    link: Link | None
    """To the member above; None for a root."""


def links_of(near: Neighbourhood, records: Iterable[str]) -> list[Link]:
    """Every link of some records whose edges and verdicts were read, each once, the strongest first."""
    pairs: dict[tuple[str, str], Link] = {}
    for record in records:
        edges, words = near.edges.get(record, {}), near.verdicts.get(record, {})
        for other in edges.keys() | words.keys():
            link = link_of(record, other, edges.get(other), words.get(other))
            pairs[link.a, link.b] = link
    return sorted(pairs.values(), key=_strongest_first)


def link_of(one: str, other: str, edge: Evidence | None, said: Verdict | None) -> Link:
    """The link of a pair that has an edge, a word or both."""
    a, b = min(one, other), max(one, other)
    word = Word(a, b, said.says, said.by, said.said_ms) if said else None
    if edge is None:
        return Link(a, b, word=word)
    match = edge.match
    contributions = dict(match.contributions)
    log_odds = round(sum(contributions.values()), 4)
    return Link(
        a, b, match.probability, match.duplicate, edge.held, dict(match.similarities), contributions, log_odds, word
    )


def hang(links: Sequence[Link], root: str, records: Sequence[str]) -> list[Branch]:
    """Some records as a tree of the strongest links that hold them, `root` on top, depth first.

    What no link leads to is a root of its own, in the order of `records`.
    """
    near = _spanning(links)
    branches: list[Branch] = []
    seen: set[str] = set()
    for start in (root, *records):
        waiting: list[Branch] = [] if start in seen else [Branch(start, 0, None)]
        while waiting:
            branch = waiting.pop()
            seen.add(branch.id)
            branches.append(branch)
            further = [link for link in near.get(branch.id, []) if link.other(branch.id) not in seen]
            waiting += [Branch(link.other(branch.id), branch.depth + 1, link) for link in reversed(further)]
    return branches


def path_between(links: Sequence[Link], a: str, b: str) -> list[Link]:
    """The links from `a` to `b` whose weakest is the strongest there can be; empty where none lead there."""
    near = _spanning(links)
    came: dict[str, Link | None] = {a: None}
    waiting = [a]
    while waiting:
        record = waiting.pop()
        for link in near.get(record, []):
            if (other := link.other(record)) not in came:
                came[other] = link
                waiting.append(other)
    path: list[Link] = []
    record = b
    while (step := came.get(record)) is not None:
        path.append(step)
        record = step.other(record)
    return path[::-1]


def _spanning(links: Iterable[Link]) -> dict[str, list[Link]]:
    """The strongest links without a ring among them (Kruskal 1956), under both ends, the strongest first."""
    above: dict[str, str] = {}

    def top(record: str) -> str:
        while record in above:
            record = above[record]
        return record

    near: dict[str, list[Link]] = {}
    for link in sorted((link for link in links if link.holds), key=_strongest_first):
        one, other = top(link.a), top(link.b)
        if one != other:
            above[one] = other
            near.setdefault(link.a, []).append(link)
            near.setdefault(link.b, []).append(link)
    return near


def _strongest_first(link: Link) -> tuple[bool, float, float, str, str]:
    said, probability, log_odds = link.strength
    return not said, -probability, -log_odds, link.a, link.b
