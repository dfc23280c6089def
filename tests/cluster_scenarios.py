"""Random lives of records, played through `consumer.clusters.Book` into any cluster store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from consumer.clusters import Book, Change, Minter
from consumer.merging import MergeRules
from consumer.ports import ClusterStore
from consumer.records import Cause, Match, OutboxEntry, Position, Vector

SCOPE = "scope"
PARTITION = 3
MINT = Minter(b"0123456789abcdef", "profile", SCOPE)
NO_CAP = 1_000_000
NUMBERS = np.zeros(1, dtype=np.float16)


@dataclass(frozen=True, slots=True)
class Upsert:
    """A record arrives, or arrives again, and matches others (True: duplicate, False: possible)."""

    id: str
    born_ms: int
    quality: float
    matches: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Erase:
    id: str


Step = Upsert | Erase


def names(n: int) -> list[str]:
    return [f"r{i}" for i in range(n)]


def upserts(ids: Sequence[str]) -> st.SearchStrategy[Upsert]:
    return st.sampled_from(ids).flatmap(
        lambda record: st.builds(
            Upsert,
            id=st.just(record),
            born_ms=st.integers(0, 5),
            quality=st.sampled_from([0.25, 0.5, 1.0]),
            matches=st.dictionaries(st.sampled_from([i for i in ids if i != record]), st.booleans(), max_size=3),
        )
    )


def lives(ids: Sequence[str], max_size: int = 25) -> st.SearchStrategy[list[Step]]:
    """Inserts, updates and erasures, in that order of likelihood."""
    return st.lists(st.one_of(upserts(ids), upserts(ids), st.builds(Erase, id=st.sampled_from(ids))), max_size=max_size)


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
    start: int = 0,
) -> list[Change]:
    """Play steps into the store, one book and one write a batch, and each step a batch where no cuts are given.

    `start` is the offset of the first.
    """
    epoch = store.take_epoch(PARTITION)
    store.claim(SCOPE, PARTITION, epoch)
    changes: list[Change] = []
    for batch in batches(steps, range(len(steps)) if cuts is None else cuts, start):
        named = sorted({name for _, step in batch for name in (step.id, *getattr(step, "matches", ()))})
        book = Book(
            store.read(SCOPE, named, [MINT(name) for name in named], edges=True), MINT, MergeRules(max_size, quorum)
        )
        made = [change for offset, step in batch for change in _feed(book, offset, step)]
        entries = [OutboxEntry("events", "key", repr(change).encode()) for change in made]
        assert store.apply(SCOPE, PARTITION, epoch, batch[-1][0], book.update(entries))
        changes += made
    return changes


def _feed(book: Book, offset: int, step: Step) -> list[Change]:
    source = Position("records", 0, offset)
    cause = Cause(Position("vectors", PARTITION, offset), source, 1_000 + offset)
    if isinstance(step, Erase):
        return book.erase(step.id, cause)
    vector = Vector(
        *(step.id, SCOPE, "fingerprint", source, cause.ingested_ms), step.born_ms, step.quality, mask=1, values=NUMBERS
    )
    matches = [
        Match(other, 0.9 if duplicate else 0.4, duplicate, {"text": 0.75, "image": 0.1}, {"text": 2.5})
        for other, duplicate in step.matches.items()
    ]
    return book.upsert(vector, matches, cause)
