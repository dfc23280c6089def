"""Random lives of records, played through `consumer.clusters.Book` into any cluster store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from consumer.clusters import Book, Change, Read
from consumer.merging import MergeRules
from consumer.minter import Minter
from consumer.ports import ClusterStore, Neighbourhood
from consumer.records import Cause, Match, Member, OutboxEntry, Position, Saying, Vector, Verdict
from consumer.redo import Repair

SCOPE = "scope"
PARTITION = 3
MINT = Minter(b"0123456789abcdef", "profile", SCOPE)
NO_CAP = 1_000_000
DUPLICATE = 0.5
PLENTY = Repair(1_000, 2)
NUMBERS = np.zeros(1, dtype=np.float16)


@dataclass(frozen=True, slots=True)
class Upsert:
    """A record arrives, or arrives again, and matches others (True: duplicate, False: possible)."""

    id: str
    born_ms: int
    quality: float
    matches: Mapping[str, bool | float] = field(default_factory=dict)
    """By the other record: a duplicate or only possible; or the probability, of which `DUPLICATE` makes a duplicate."""


@dataclass(frozen=True, slots=True)
class Erase:
    id: str


@dataclass(frozen=True, slots=True)
class Say:
    """A person says something of two records."""

    a: str
    b: str
    says: Saying
    at: int | None = None
    """Offset of the feedback message; None: that of the step."""


Step = Upsert | Erase | Say


def names(n: int) -> list[str]:
    return [f"r{i}" for i in range(n)]


def upserts(
    ids: Sequence[str], likeness: st.SearchStrategy[bool | float] | None = None, most: int = 3
) -> st.SearchStrategy[Upsert]:
    """A record that matches up to `most` others."""
    alike = st.booleans() if likeness is None else likeness
    return st.sampled_from(ids).flatmap(
        lambda record: st.builds(
            Upsert,
            id=st.just(record),
            born_ms=st.integers(0, 5),
            quality=st.sampled_from([0.25, 0.5, 1.0]),
            matches=st.dictionaries(st.sampled_from([i for i in ids if i != record]), alike, max_size=most),
        )
    )


def lives(ids: Sequence[str], max_size: int = 25) -> st.SearchStrategy[list[Step]]:
    """Inserts, updates and erasures, in that order of likelihood."""
    return st.lists(st.one_of(upserts(ids), upserts(ids), st.builds(Erase, id=st.sampled_from(ids))), max_size=max_size)


def sayings(ids: Sequence[str]) -> st.SearchStrategy[Say]:
    pairs = st.lists(st.sampled_from(ids), min_size=2, max_size=2, unique=True).map(sorted)
    says: st.SearchStrategy[Saying] = st.sampled_from(["same", "different", "undecided"])
    return st.builds(lambda pair, word: Say(pair[0], pair[1], word), pairs, says)


def disputed_lives(ids: Sequence[str], max_size: int = 30) -> st.SearchStrategy[list[Step]]:
    """Lives with probabilities of every height, and people who have something to say."""
    likely = _likely(ids)
    return st.lists(
        st.one_of(likely, likely, likely, sayings(ids), st.builds(Erase, id=st.sampled_from(ids))), max_size=max_size
    )


def likely_lives(ids: Sequence[str], max_size: int = 30) -> st.SearchStrategy[list[Step]]:
    """The same where nobody says anything."""
    return st.lists(st.one_of(_likely(ids), st.builds(Erase, id=st.sampled_from(ids))), max_size=max_size)


def _likely(ids: Sequence[str]) -> st.SearchStrategy[Upsert]:
    return upserts(ids, st.integers(1, 20).map(lambda n: n / 20), most=5)


def batches(steps: Sequence[Step], cuts: Iterable[int], start: int) -> Iterator[Sequence[tuple[int, Step]]]:
    """The steps with their offsets, cut before each of the places in `cuts`."""
    numbered = list(enumerate(steps, start))
    places = sorted({0, len(steps), *(cut for cut in cuts if cut < len(steps))})
    return (numbered[first:end] for first, end in pairwise(places))


def play(
    store: ClusterStore,
    steps: Sequence[Step],
    *,
    cuts: Iterable[int] | None = None,
    max_size: int = NO_CAP,
    quorum: float = 0.0,
    neighbours: int = NO_CAP,
    repair: Repair = PLENTY,
    eager: bool = True,
    start: int = 0,
) -> list[Change]:
    """Play steps into the store, one book and one write a batch, and each step a batch where no cuts are given.

    `start` is the offset of the first. A book that is not eager is told who exists, and reads what it needs.
    """
    epoch = store.take_epoch(PARTITION)
    store.claim(SCOPE, PARTITION, epoch)
    changes: list[Change] = []
    for batch in batches(steps, range(len(steps)) if cuts is None else cuts, start):
        named = sorted({name for _, step in batch for name in _named(step)})
        state = (
            store.read(SCOPE, named, [MINT(name) for name in named], edges=True)
            if eager
            else Neighbourhood(dict(store.known(SCOPE, named).records))
        )
        state.redo.extend(store.read(SCOPE, [], redo=len(batch) * (repair.redo_per_row + 1)).redo)
        book = Book(state, MINT, MergeRules(max_size, quorum, neighbours), best_of, _reader(store), repair)
        fed = [(offset, change) for offset, step in batch for change in _feed(book, offset, step)]
        entries = [OutboxEntry("events", "key", repr(change).encode(), offset) for offset, change in fed]
        assert store.apply(SCOPE, PARTITION, epoch, batch[-1][0], book.update(entries))
        changes += [change for _, change in fed]
    return changes


def best_of(members: Mapping[str, Member]) -> str:
    """The record to keep: the best, then the oldest."""
    return min(members, key=lambda record: (-members[record].quality, members[record].born_ms, record))


def _reader(store: ClusterStore) -> Read:
    return lambda records, cluster_ids: store.read(SCOPE, records, cluster_ids, edges=True)


def _named(step: Step) -> Sequence[str]:
    return (step.a, step.b) if isinstance(step, Say) else (step.id, *getattr(step, "matches", ()))


def verdict_of(offset: int, step: Say) -> Verdict:
    """What a person says at the time of its offset."""
    offset = offset if step.at is None else step.at
    source = Position("feedback", 0, offset)
    return Verdict(step.a, step.b, step.says, "steward", 1_000 + offset, SCOPE, source, 1_000 + offset)


def _feed(book: Book, offset: int, step: Step) -> list[Change]:
    source = Position("records", 0, offset)
    cause = Cause(Position("vectors", PARTITION, offset), source, 1_000 + offset)
    if isinstance(step, Erase):
        return book.erase(step.id, cause)
    if isinstance(step, Say):
        return book.rule(verdict_of(offset, step), cause) or []
    vector = Vector(
        *(step.id, SCOPE, "fingerprint", source, cause.ingested_ms), step.born_ms, step.quality, mask=1, values=NUMBERS
    )
    matches = [
        Match(other, probability, probability >= DUPLICATE, {"text": 0.75, "image": 0.1}, {"text": 2.5})
        for other, probability in ((r, _probability(alike)) for r, alike in step.matches.items())
    ]
    return book.upsert(vector, matches, cause)


def _probability(alike: bool | float) -> float:
    return (0.9 if alike else 0.4) if isinstance(alike, bool) else alike
