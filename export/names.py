"""How the same person comes to be written differently: what an encoder of names and places should forgive.

Each function takes a text ("Ann Lee, Leeds") and a `random.Random`, and returns another spelling of the same.
"""

import string
from random import Random

from anyascii import anyascii

from export.nicknames import nickname
from export.scripts import foreign
from export.slips import misheard, slip

_HONORIFICS = ("dr", "mr", "mrs", "ms", "sir", "prof", "rev.", "lady", "captain", "jr", "dr.", "mr.", "lord", "baron")
_SHORT = (
    ("saint ", "st "), ("Saint ", "St "), ("north ", "n "), ("upon", "on"), ("new ", "n "), ("mount ", "mt "),
    ("fort ", "ft "), ("-", " "), (" ", "-"),
)  # fmt: skip


def person(text: str, chance: Random) -> str:
    """A name and a city as somebody else would type them: either changed, or both."""
    name, _, city = text.partition(", ")
    name = _name(name, chance) if chance.random() < 0.85 else name
    city = _city(city, chance) if city else ""
    changed = ", ".join(part for part in (name, city) if part) or text
    return changed.lower() if chance.random() < 0.3 else changed


def abroad(text: str, chance: Random) -> str:
    """A name and a city after a trip to another script, or back from one."""
    name, _, city = text.partition(", ")
    # Greek and whatever comes after it in Unicode is romanised.
    if any(letter >= "\u0370" for letter in name):
        words = anyascii(name).split()
        words = [misheard(word.lower(), chance) if chance.random() < 0.4 else word for word in words]
        name = " ".join(words) or name
    else:
        name = foreign(name, chance)
    if chance.random() < 0.25:
        name = " ".join(reversed(name.split()))
    return ", ".join(part for part in (name, anyascii(city)) if part)


def _name(text: str, chance: Random) -> str:
    words = text.split()
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3)) if words else 0):
        at = chance.randrange(len(words))
        several = len(words) > 1
        change = chance.random()
        if change < 0.4:
            words[at] = _word(words[at], chance) or words[at]
        elif change < 0.5 and several:
            words[at] = words[at][0] + chance.choice(("", "."))
        elif change < 0.6 and several:
            words.pop(at)
        elif change < 0.7:
            chance.shuffle(words)
        elif change < 0.78:
            words.insert(0 if chance.random() < 0.7 else len(words), chance.choice(_HONORIFICS))
        elif change < 0.86:
            words.insert(1, chance.choice(string.ascii_lowercase) + chance.choice(("", ".")))
        elif change < 0.92:
            words = anyascii(" ".join(words)).split() or words
        else:
            words[at : at + 2] = [chance.choice(("", "-")).join(words[at : at + 2])]
    return " ".join(words)


def _word(word: str, chance: Random) -> str:
    lower = word.lower()
    change = chance.random()
    if change < 0.25:
        return nickname(lower, chance) or slip(word, chance)
    if change < 0.55:
        return slip(word, chance)
    if change < 0.8:
        return misheard(lower, chance)
    if change < 0.9:
        return slip(slip(word, chance), chance)
    return anyascii(word)


def _city(text: str, chance: Random) -> str:
    change = chance.random()
    if change < 0.5:
        return text
    if change < 0.65:
        return " ".join(_word(word, chance) if chance.random() < 0.5 else word for word in text.split())
    if change < 0.75:
        return ""
    if change < 0.83:
        return text.replace(*chance.choice(_SHORT))
    return " ".join(text.split()[:1]) if change < 0.9 else anyascii(text)
