"""Families of people who are easily taken for each other, made up from a seed: they share a name or a city."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from faker import Faker
from faker.providers.person.ja_JP import Provider as Japanese

from export import corpus, names
from export.hangul import romanised
from export.scripts import chinese

LOCALES = (*corpus.LOCALES, "en_AU", "he_IL", "ar_SA", "bg_BG")
_NAMES, _CITIES = 400, 150
"""Of a locale: few, so that strangers share a first name, a last name or a city."""
_EAST = ("ko_KR", "ja_JP", "zh_CN")


@dataclass(frozen=True, slots=True)
class Pool:
    """Names and cities of a locale."""

    locale: str
    first: Sequence[str]
    last: Sequence[str]
    cities: Sequence[str]


def pools(seed: int) -> list[Pool]:
    """One of each locale."""
    return [_pool(locale, seed * 1000 + number) for number, locale in enumerate(LOCALES)]


def weights(pools: Sequence[Pool]) -> list[float]:
    """How often each is drawn. Half of the people have English names, as in most files that are cleaned."""
    return [4.0 if pool.locale.startswith("en") else 3.0 if pool.locale in _EAST else 1.0 for pool in pools]


def family(pool: Pool, size: int, chance: Random) -> list[tuple[str, str]]:
    """`size` people who share one or two of first name, last name and city; two spellings of each."""
    who = [chance.choice(part) for part in (pool.first, pool.last, pool.cities)]
    has_city, goes_abroad = chance.random() < 0.7, chance.random() < 0.4
    pairs = []
    for number in range(size):
        one = list(who)
        for part in [(), (0,), (1,), chance.choice(((0, 2), (1, 2)))][number % 4]:
            one[part] = chance.choice((pool.first, pool.last, pool.cities)[part])
        city = f", {one[2]}" if has_city else ""
        if pool.locale in _EAST:
            pairs.append(_eastern(pool.locale, one[0], one[1], city, chance))
            continue
        middle = f" {chance.choice(pool.first)}" if chance.random() < 0.15 else ""
        text = f"{one[0]}{middle} {one[1]}{city}"
        other = names.abroad(text, chance) if goes_abroad else names.person(text, chance)
        pairs.append((text.lower() if chance.random() < 0.4 else text, other))
    return pairs


def _pool(locale: str, seed: int) -> Pool:
    faker = Faker(locale)
    faker.seed_instance(seed)
    cities = [faker.city() for _ in range(_CITIES)]
    if locale == "ja_JP":
        chance = Random(seed)
        first, last = (
            [" ".join(name) for name in part] for part in (Japanese.first_name_pairs, Japanese.last_name_pairs)
        )
        return Pool(locale, chance.sample(first, min(_NAMES, len(first))), last, cities)
    return Pool(
        locale,
        [faker.first_name() for _ in range(_NAMES)],
        [faker.last_name() for _ in range(_NAMES)],
        cities,
    )


def _eastern(locale: str, first: str, last: str, city: str, chance: Random) -> tuple[str, str]:
    if locale == "ja_JP":
        kinds = [last.split(), first.split()]
        written, read = chance.sample(range(3), 2)
        spellings = [[name[kind] for name in kinds] for kind in (written, read)]
        one, other = (" ".join(reversed(parts) if chance.random() < 0.3 else parts) + city for parts in spellings)
        return one, other
    latin = (romanised if locale == "ko_KR" else chinese)(last, first, chance)
    native = f"{last}{first}{city}"
    if chance.random() < 0.2:
        latin_too = (romanised if locale == "ko_KR" else chinese)(last, first, chance)
        return latin_too, latin
    return (native, latin) if chance.random() < 0.5 else (latin, native)
