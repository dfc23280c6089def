"""What to train on: families of four entities that are easily taken for each other, each as two spellings of it."""

import csv
import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from faker import Faker

from export import corpus, corruptions
from export.errors import ExportError

SIZE = 4

Pair = tuple[str, str]
"""Two spellings of one entity."""

Family = Sequence[Pair]

# Not it_IT: Faker draws its names from a set, whose order changes from process to process.
_LOCALES = (*(name for name in corpus.LOCALES if name != "it_IT"), "it_CH", "en_AU", "he_IL", "ar_SA", "bg_BG")
_NAMES, _CITIES = 250, 120
"""Of a locale: few, so that strangers share a first name, a last name or a city."""
_CAPITAL_WORDS = tuple(string.ascii_uppercase)
_SIZES = [
    "42",
    "large",
    "compact",
    "80GB",
    "500GB",
    "1TB",
    "2TB",
    "16GB",
    "8GB",
    "2.4GHz",
    "3.5-inch",
    '15.6"',
    "1080p",
    "7200RPM",
    "10K",
    "SAS",
    "SATA",
    "DDR3",
    "DDR4",
    "1kg",
    "500ml",
    "12V",
    "750W",
    "4-pack",
    "black",
    "white",
    "navy",
    "red",
    "walnut",
    "steel",
    "foldable",
    "waterproof",
]
_MAX_RECORDS = 8_000


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """The records of a folder: a text and the entity of each."""

    texts: Sequence[str]
    entities: Sequence[str]
    corrupt: Callable[[str, Random], str]


def read(folder: Path, seed: int) -> LabelledSet:
    """`truth.csv` (id, cluster_id) and `signups.jsonl` or `listings.jsonl` of a folder; large ones are sampled.

    Raises ExportError when one is missing or broken.
    """
    persons, things = folder / "signups.jsonl", folder / "listings.jsonl"
    path, fields = (persons, ("name", "city")) if persons.is_file() else (things, ("title",))
    try:
        with (folder / "truth.csv").open(encoding="utf-8", newline="") as rows:
            entities = {row["id"]: row["cluster_id"] for row in csv.DictReader(rows)}
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        found = [
            (", ".join(str(record[field]) for field in fields if record.get(field)), entities[record["id"]])
            for record in records
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"--data {folder}: needs truth.csv (id,cluster_id) and signups.jsonl or listings.jsonl with those ids "
            f"({error!r})"
        ) from error
    kept = _sampled([entity for _, entity in found], seed)
    chosen = [(text, entity) for text, entity in found if text and entity in kept]
    corrupt = corruptions.person if path == persons else corruptions.title
    return LabelledSet([text for text, _ in chosen], [entity for _, entity in chosen], corrupt)


def _sampled(entities: Sequence[str], seed: int) -> Mapping[str, int]:
    """Whole entities, about `_MAX_RECORDS` records in all, with the number of records of each."""
    sizes: dict[str, int] = {}
    for entity in entities:
        sizes[entity] = sizes.get(entity, 0) + 1
    order = list(sizes)
    Random(seed).shuffle(order)
    kept: dict[str, int] = {}
    room = _MAX_RECORDS
    for entity in order:
        if room > 0:
            kept[entity] = sizes[entity]
            room -= sizes[entity]
    return kept


def generated(count: int, seed: int) -> list[Family]:
    """`count` families, two in three of people in 28 locales, the others of things."""
    chance = Random(seed)
    pools = [_pool(locale, seed * 1000 + number) for number, locale in enumerate(_LOCALES)]
    # Half of the people have English names, as in most of the files that are cleaned.
    weights = [4.0 if locale.startswith("en") else 1.0 for locale in _LOCALES]
    return [
        _people(chance.choices(pools, weights)[0], chance) if chance.random() < 0.65 else _things(chance)
        for _ in range(count)
    ]


@dataclass(frozen=True, slots=True)
class _Pool:
    first: Sequence[str]
    last: Sequence[str]
    cities: Sequence[str]


def _pool(locale: str, seed: int) -> _Pool:
    faker = Faker(locale)
    faker.seed_instance(seed)
    return _Pool(
        [faker.first_name() for _ in range(_NAMES)],
        [faker.last_name() for _ in range(_NAMES)],
        [faker.city() for _ in range(_CITIES)],
    )


def _people(pool: _Pool, chance: Random) -> Family:
    first, last, city = chance.choice(pool.first), chance.choice(pool.last), chance.choice(pool.cities)
    has_city, goes_abroad = chance.random() < 0.7, chance.random() < 0.3
    family = []
    for number in range(SIZE):
        who = [first, last, city]
        # The others share one or two of the three.
        for part in [(), (0,), (1,), chance.choice(((0, 2), (1, 2)))][number]:
            who[part] = chance.choice((pool.first, pool.last, pool.cities)[part])
        middle = f" {chance.choice(pool.first)}" if chance.random() < 0.15 else ""
        text = f"{who[0]}{middle} {who[1]}" + (f", {who[2]}" if has_city else "")
        other = corruptions.abroad(text, chance) if goes_abroad else corruptions.person(text, chance)
        family.append((text.lower() if chance.random() < 0.4 else text, other))
    return family


def _things(chance: Random) -> Family:
    letters = "".join(chance.choices(_CAPITAL_WORDS, k=chance.randrange(1, 4)))
    code = (
        f"{letters}{chance.choice(('', '-'))}{chance.randrange(1, 10_000)}{chance.choice(('', '', 'A', 'X', '-B21'))}"
    )
    traits = chance.sample(_SIZES, chance.randrange(0, 4))
    text = " ".join([chance.choice(corpus.BRANDS), code, chance.choice(corpus.THINGS), *traits])
    texts = {text: None}
    while len(texts) < SIZE:
        texts[corruptions.sibling(text, chance)] = None
    return [(one, corruptions.title(one, chance)) for one in texts]
