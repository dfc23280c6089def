"""Texts to fit and to measure on, made up from a seed: people with a city, and things for sale. Nothing is copied.

The same seed and the same version of Faker give the same texts.
"""

import random
from collections.abc import Sequence

from faker import Faker

LOCALES = (
    "en_US", "en_GB", "en_IN", "de_DE", "fr_FR", "es_ES", "es_MX", "it_CH", "pt_BR", "nl_NL", "pl_PL", "cs_CZ",
    "sv_SE", "fi_FI", "tr_TR", "ro_RO", "hu_HU", "id_ID", "ru_RU", "uk_UA", "el_GR", "ja_JP", "zh_CN", "ko_KR",
)  # fmt: skip
"""Latin scripts outnumber the others, as they do in what the encoder can read."""

BRANDS = ("Norvik", "Altera", "Kestrel", "Lumo", "Brightwell", "Osmo", "Fennec", "Tarn", "Quill", "Hallmere", "Zephra")
THINGS = (
    "road bike", "office chair", "running shoes", "espresso machine", "winter jacket", "bluetooth headphones",
    "standing desk", "camera lens", "board game", "cordless drill", "tent", "floor lamp", "smartphone", "laptop",
    "kitchen knife set", "baby stroller", "acoustic guitar", "garden hose", "leather sofa", "graphics card", "e-reader",
    "mountain boots", "yoga mat", "vacuum cleaner", "bookshelf", "wrist watch", "sewing machine", "tablet", "monitor",
)  # fmt: skip
TRAITS = (
    "black", "white", "navy blue", "dark green", "red", "walnut", "stainless steel", "foldable", "waterproof", "used",
    "as new", "refurbished", "mint condition", "with original box", "size 42", "size M", "large", "compact", "vintage",
    "for beginners", "professional", "lightweight", "extra battery", "free shipping", "pick up only", "no scratches",
)  # fmt: skip


def signups(count: int, seed: int) -> list[str]:
    """`count` texts such as "Ann Lee, Leeds", over all of `LOCALES`."""
    chance = random.Random(seed)
    fakers = [Faker(locale) for locale in LOCALES]
    for number, faker in enumerate(fakers):
        faker.seed_instance(seed * 1000 + number)
    texts = []
    for _ in range(count):
        faker = chance.choice(fakers)
        name = f"{faker.first_name()} {faker.last_name()}"
        texts.append(f"{_spelling(name, chance)}, {_spelling(faker.city(), chance)}")
    return texts


def listings(count: int, seed: int) -> list[str]:
    """`count` product titles such as "Lumo X40 tent, dark green, as new"."""
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        model = f"{chance.choice('ABCDEFGHKLMPRSTX')}{chance.randrange(1, 1000)}"
        traits = chance.sample(TRAITS, chance.randrange(0, 4))
        title = " ".join([chance.choice(BRANDS), model, chance.choice(THINGS)])
        texts.append(_spelling(", ".join([title, *traits]), chance))
    return texts


def texts(count: int, seed: int) -> list[str]:
    """Two thirds people, one third things, in an order that does not group them."""
    things = count // 3
    mixed = signups(count - things, seed) + listings(things, seed + 1)
    random.Random(seed).shuffle(mixed)
    return mixed


def near_duplicates(originals: Sequence[str], seed: int) -> list[str]:
    """Each text with one slip of the keyboard: a letter dropped, doubled, or swapped with the next one."""
    chance = random.Random(seed)
    slips = []
    for text in originals:
        at = chance.randrange(max(1, len(text) - 1))
        pair = text[at : at + 2]
        slip = chance.choice((pair[1:], pair[:1] + pair, pair[::-1]))
        slips.append(text[:at] + slip + text[at + 2 :])
    return slips


def _spelling(text: str, chance: random.Random) -> str:
    """Now and then as people type it: all lower or all upper case."""
    return chance.choices((text, text.lower(), text.upper()), weights=(8, 2, 1))[0]
