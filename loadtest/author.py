"""The messages of a load test, in order and seeded, with the truth about them planted."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import orjson

from consumer.errors import SettingsError
from consumer.profile import Profile
from consumer.simulate import signups
from loadtest.offers import offers, picture
from loadtest.workload import Mix, Workload

Kind = Literal["new", "duplicate", "update", "erase", "hub", "poison"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Value = dict[str, object]

_ENDLESS = 10**12
_RECENT = 5_000
"""Records that an update or an erasure is drawn from."""
_POISON = (b"not JSON", b"[1, 2]", b'{"name": ', b'"text"', b"\xff\xfe")


@dataclass(frozen=True, slots=True)
class Sending:
    """One message. `entity` is the person or thing behind it; records of one entity are duplicates."""

    kind: Kind
    record: int
    """Number of the record among those of this generator."""
    entity: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Shape:
    """How the records of a profile are made."""

    stream: Callable[[int, float], Iterator[tuple[int, Value]]]
    """(seed, share of duplicates) → (entity, value) without end; entities count up."""
    touched: Callable[[Value, random.Random], Value]
    """The same record, sent again with something new in it."""
    placeholder: Value
    """What a hub's records have in common."""


def shape_of(profile: Profile, mix: Mix) -> Shape:
    """What fits the profile. Raises SettingsError when nothing does."""
    shape = _OFFERS if "title" in profile.fields else _SIGNUPS if "name" in profile.fields else None
    if shape is None:
        raise SettingsError(
            f"profile {profile.name}: the load test makes signups and listings, and this profile has neither a field "
            "`name` nor a field `title`; use signup, listing, or a copy of one of them"
        )
    if mix.image and "image" not in profile.fields:
        raise SettingsError(f"mix.image: profile {profile.name} has no field `image`; set DEDUP_PROFILE=listing")
    return shape


def record_id(run: str, generator: int, record: int) -> str:
    """No two runs have one in common."""
    return f"{run}-{generator}-{record:07d}"


class Author:
    """Writes the messages of one generator, without end."""

    def __init__(self, run: str, generator: int, seed: int, workload: Workload, profile: Profile) -> None:
        mix = workload.mix
        fresh = mix.new + mix.duplicate
        self._shape = shape_of(profile, mix)
        self._run, self._generator = run, generator
        self._rng = random.Random(seed * 1000 + generator)
        self._stream = self._shape.stream(self._rng.randrange(2**31), mix.duplicate / fresh)
        self._others = self._shape.stream(self._rng.randrange(2**31), 0.0)
        self._shares = [fresh, mix.image, mix.update, mix.erase, mix.hub, mix.poison]
        self._scope, self._scopes = profile.scope, workload.scopes
        self._recent: list[tuple[int, int, Value]] = []
        self._entities = self._records = self._strangers = 0
        self._filling = len(range(generator, workload.fill, workload.generators))
        if self._scopes > 1 and self._scope is None:
            raise SettingsError(f"scopes: profile {profile.name} keeps no scopes apart; leave `scopes` at 1")

    def __next__(self) -> Sending:
        if self._filling > 0:  # what is to be there before are records, whatever is sent of them later
            self._filling -= 1
            return self._fresh(with_picture=False)
        (kind,) = self._rng.choices(("fresh", "image", "update", "erase", "hub", "poison"), self._shares)
        if kind in {"update", "erase"} and self._recent:
            return self._update() if kind == "update" else self._erase()
        if kind == "poison":
            return self._sending("poison", self._next_record(), 0, self._rng.choice(_POISON))
        if kind == "hub":
            return self._hub()
        return self._fresh(with_picture=kind == "image")

    def _fresh(self, *, with_picture: bool) -> Sending:
        entity, value = next(self._stream)
        first = entity >= self._entities
        self._entities = max(self._entities, entity + 1)
        if with_picture:
            value["image"] = picture(entity, self._records)
        return self._keep("new" if first else "duplicate", entity, value)

    def _hub(self) -> Sending:
        """A stranger: no two of them are the same, whatever they are called."""
        _, value = next(self._others)
        self._strangers += 1
        return self._keep("hub", -self._strangers, {**value, **self._shape.placeholder})

    def _keep(self, kind: Kind, entity: int, value: Value) -> Sending:
        if self._scope is not None:
            value[self._scope] = f"load-{entity % self._scopes}"
        record = self._next_record()
        entry = (record, entity, value)
        if len(self._recent) < _RECENT:
            self._recent.append(entry)
        else:
            self._recent[self._rng.randrange(_RECENT)] = entry
        return self._sending(kind, record, entity, orjson.dumps(value))

    def _update(self) -> Sending:
        place = self._rng.randrange(len(self._recent))
        record, entity, value = self._recent[place]
        value = self._shape.touched(value, self._rng)
        self._recent[place] = (record, entity, value)
        return self._sending("update", record, entity, orjson.dumps(value))

    def _erase(self) -> Sending:
        place = self._rng.randrange(len(self._recent))
        self._recent[place], self._recent[-1] = self._recent[-1], self._recent[place]
        record, entity, _ = self._recent.pop()
        return self._sending("erase", record, entity, None)

    def _next_record(self) -> int:
        self._records += 1
        return self._records - 1

    def _sending(self, kind: Kind, record: int, entity: int, value: bytes | None) -> Sending:
        return Sending(kind, record, entity, record_id(self._run, self._generator, record).encode(), value)


def _people(seed: int, duplicate_share: float) -> Iterator[tuple[int, Value]]:
    return ((signup.person, signup.value) for signup in signups(_ENDLESS, seed, duplicate_share))


def _new_browser(value: Value, rng: random.Random) -> Value:
    return {**value, "browser": f"{str(value.get('browser', 'Chrome')).split(' ')[0]} {rng.randrange(90, 140)}.0"}


def _new_price(value: Value, rng: random.Random) -> Value:
    return {**value, "price": round(rng.uniform(5, 500), 2)}


_SIGNUPS = Shape(_people, _new_browser, {"name": "Test Test", "city": "Test"})
_OFFERS = Shape(offers, _new_price, {"title": "Untitled offer", "brand": "unknown"})
