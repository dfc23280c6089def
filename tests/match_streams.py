"""Streams for the match stage in tests: `Put`, `Drop`, `Tell` and `Again` write one, and its records are encoded for real."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from consumer.encode import EncoderSet
from consumer.names import scope_partition
from consumer.records import Erasure, FieldValue, Message, Outgoing, Position, Record, Saying, Verdict
from consumer.vectors import pack_erasure, pack_vector, pack_verdict
from tests.factories import NOW_MS, encoder_set, person_profile

VECTORS = "vectors"
SCOPE = "default"
ALL = 1_000
"""More neighbours, or members, than any stream has records: no cut, no cap."""
CUTS = st.sets(st.integers(1, 24))
NEIGHBOURS = st.sampled_from([1, 2, 3, ALL])
EXAMPLES = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True, slots=True)
class Put:
    """A record arrives, or arrives again."""

    id: str
    name: str
    city: str | None
    born_ms: int
    scope: str = SCOPE


@dataclass(frozen=True, slots=True)
class Drop:
    """A record is erased."""

    id: str


@dataclass(frozen=True, slots=True)
class Again:
    """The message of an earlier step once more, as an encoder that crashed before its commit sends it."""

    step: int


@dataclass(frozen=True, slots=True)
class Tell:
    """A person says something of two records."""

    a: str
    b: str
    says: Saying
    scope: str = SCOPE


Step = Put | Drop | Tell | Again


@cache
def encoders() -> EncoderSet:
    profile = person_profile(
        modalities={
            "name": {"encoder": "lexical", "fields": ["name"], "dim": 32, "weight": 0.7},
            "city": {"encoder": "lexical", "fields": ["city"], "dim": 16, "weight": 0.3},
        },
        fusion={"duplicate": 0.8, "possible": 0.55, "slope": 20, "min_evidence": 0.7},
        quality={"completeness": {"fields": {"name": 2 / 3, "city": 1 / 3}}},
    )
    return encoder_set(profile)


@cache
def encoded(name: str, city: str | None) -> Record:
    fields: dict[str, FieldValue] = {"name": name} if city is None else {"name": name, "city": city}
    return Record("", SCOPE, fields, 0, Position("persons", 0, 0), 0)


def messages_of(steps: Sequence[Step], partitions: int = 1) -> list[Outgoing]:
    """What the encode stage sends for the steps; step i is message i of the input topic."""
    made: list[list[Outgoing]] = []
    for i, step in enumerate(steps):
        source, ingested_ms = Position("persons", 0, i), NOW_MS + 1_000 * i
        if isinstance(step, Again):
            made.append(made[step.step % i] if i else [])
        elif isinstance(step, Drop):
            made.append([pack_erasure(Erasure(step.id, source, ingested_ms), VECTORS, p) for p in range(partitions)])
        elif isinstance(step, Tell):
            said = Position("feedback", 0, i)
            word = Verdict(step.a, step.b, step.says, "steward", ingested_ms, step.scope, said, ingested_ms)
            made.append([pack_verdict(word, VECTORS, scope_partition(step.scope, partitions))])
        else:
            record = replace(
                encoded(step.name, step.city),
                id=step.id,
                scope=step.scope,
                born_ms=step.born_ms,
                source=source,
                ingested_ms=ingested_ms,
            )
            (vector,) = encoders().encode([record])
            made.append([pack_vector(vector, VECTORS, scope_partition(step.scope, partitions))])
    return [message for step_messages in made for message in step_messages]


def delivered(outgoing: Iterable[Outgoing]) -> list[Message]:
    """Messages of one partition as a source hands them out."""
    return [
        Message(Position(m.topic, 0, offset), m.key, m.value, m.timestamp_ms or 0, m.headers)
        for offset, m in enumerate(outgoing)
    ]


NAMES = ["maria garcia", "mario garcia", "maria garcia lopez", "marian garcía", "john smith", "jon smith", "li wei"]
CITIES = ["madrid", "madrid", "madrit", "london", None]


def _lives(
    people: st.SearchStrategy[tuple[str, str | None]], n_ids: int, *, again: bool, words: bool
) -> st.SearchStrategy[Any]:
    ids = st.sampled_from([f"r{i}" for i in range(n_ids)])
    puts = st.builds(
        lambda record_id, person, born: Put(record_id, person[0], person[1], NOW_MS + born),
        ids,
        people,
        st.integers(0, 5),
    )
    steps: list[st.SearchStrategy[Any]] = [puts, puts, puts, st.builds(Drop, ids)]
    if words:
        pairs = st.lists(ids, min_size=2, max_size=2, unique=True).map(sorted)
        says: st.SearchStrategy[Saying] = st.sampled_from(["same", "different", "undecided"])
        steps.append(st.builds(lambda pair, word: Tell(pair[0], pair[1], word), pairs, says))
    if again:
        steps.append(st.builds(Again, st.integers(0, 24)))
    return st.lists(st.one_of(steps), min_size=2, max_size=24)


def streams(*, again: bool = True, words: bool = False) -> st.SearchStrategy[Any]:
    """Inserts, updates and erasures of a few records: of many people, or of two, so that all are ties."""
    many = st.tuples(st.sampled_from(NAMES), st.sampled_from(CITIES))
    two = st.sampled_from([("john smith", "london"), ("jon smith", "london")])
    return _lives(many, 8, again=again, words=words) | _lives(two, 5, again=again, words=words)


def inserts(cities: Sequence[str | None] = CITIES, max_size: int = 12) -> st.SearchStrategy[list[Put]]:
    """Records that come once, each born at a time of its own."""
    one = st.tuples(st.sampled_from(NAMES), st.sampled_from(cities))
    return st.lists(one, min_size=2, max_size=max_size).flatmap(
        lambda people: st.permutations(range(len(people))).map(
            lambda births: [Put(f"r{i}", *people[i], NOW_MS + births[i]) for i in range(len(people))]
        )
    )


def last_versions(steps: Iterable[Put | Drop]) -> list[Put]:
    """The records that are there in the end, each as it came last."""
    last: dict[str, Put | Drop] = {}
    for step in steps:
        last.pop(step.id, None)
        last[step.id] = step
    return [step for step in last.values() if isinstance(step, Put)]
