"""The stream of a chaos run: inserts, updates, erasures, poison and people's words in several scopes, by seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from consumer.names import scope_partition
from consumer.simulate import Signup, signups

SCOPES = ("at", "be", "ch", "de", "dk", "ee", "es", "fi")
PARTITIONS = 6
POISON = (b"{", b"[]", b'{"name": 7, "country": "at"}', b'{"name": "no scope"}', b"\xff\xfe")
_SAYINGS = ("same", "same", "different", "different", "undecided")
_DUPLICATE_SHARE = 0.4
_PER_SCOPE = 100_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A message to be sent; `feedback` says to which of the two input topics."""

    partition: int
    key: bytes
    value: bytes | None
    timestamp_ms: int
    feedback: bool = False


class _Scope:
    """The people of one scope."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.partition = scope_partition(name, PARTITIONS)
        self.people = signups(_PER_SCOPE, seed, _DUPLICATE_SHARE)
        self.alive: dict[str, int] = {}
        """Record → the person behind it."""
        self.erased: list[str] = []
        self.made = 0

    def new(self) -> Signup:
        return next(self.people)


class Stream:
    """Messages without end; `profile` is the name that words are meant for.

    A scope's messages have one input partition, so Kafka keeps their order; words come by another topic, hence at times
    before the records they are about, or after these were erased. Time begins at `start_ms`; it should be now, for a broker
    closes a segment of a log when a transaction's marker is a week younger than the messages before, and then compacts.
    """

    def __init__(self, seed: int, profile: str, start_ms: int) -> None:
        self._chance = random.Random(seed)
        self._profile = profile
        self._scopes = [_Scope(name, seed * 100 + n) for n, name in enumerate(SCOPES)]
        self._clock_ms = start_ms

    def __iter__(self) -> Iterator[Sent]:
        while True:
            word = self._word() if self._chance.random() < 0.05 else None
            yield word or self._record()

    def _record(self) -> Sent:
        chance = self._chance.random
        scope = self._chance.choice(self._scopes)
        if chance() < 0.02:
            key = f"{scope.name}-poison-{self._tick()}".encode()
            return Sent(scope.partition, key, self._chance.choice(POISON), self._clock_ms)
        what = chance()
        if scope.alive and what < 0.10:
            gone = self._chance.choice(list(scope.alive))
            del scope.alive[gone]
            scope.erased.append(gone)
            return Sent(scope.partition, gone.encode(), None, self._tick())
        if scope.alive and what < 0.30:
            return self._put(scope, self._chance.choice(list(scope.alive)))
        if scope.erased and what < 0.34:
            return self._put(scope, scope.erased.pop(self._chance.randrange(len(scope.erased))))
        scope.made += 1
        return self._put(scope, f"{scope.name}-{scope.made:05d}")

    def _put(self, scope: _Scope, record_id: str) -> Sent:
        one = scope.new()
        scope.alive[record_id] = one.person
        value = orjson.dumps({**one.value, "country": scope.name})
        return Sent(scope.partition, record_id.encode(), value, self._tick())

    def _word(self) -> Sent | None:
        """What a person says of two records: often of two that are of one person."""
        scope = self._chance.choice([s for s in self._scopes if len(s.alive) > 1] or self._scopes)
        if len(scope.alive) < 2:
            return None
        ids = sorted(scope.alive)
        a = self._chance.choice(ids)
        beside = [r for r in ids if scope.alive[r] == scope.alive[a] and r != a]
        others = beside if beside and self._chance.random() < 0.7 else [r for r in ids if r != a]
        first, second = sorted((a, self._chance.choice(others)))
        said = {"a": first, "b": second, "verdict": self._chance.choice(_SAYINGS), "by": "steward"}
        value = orjson.dumps({**said, "profile": self._profile, "scope": scope.name})
        return Sent(scope.partition, f"{first}|{second}".encode(), value, self._tick(), feedback=True)

    def _tick(self) -> int:
        self._clock_ms += 10
        return self._clock_ms
