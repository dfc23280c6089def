"""A text as the ids of its features, for `SubwordEncoder`: pieces of its words, their sound, and their Latin form.

Every word is read by its letters, which are romanised first so that Hangul or Cyrillic meet Latin; by a rough consonant
skeleton, without vowels and with three classes of them, so that "Bosworth" meets what Korean makes of it; and, where the
script is another one, in that script too. A short word of Hangul or Han is also read as a family name and a given name.
A feature's id is a CRC-32 within the range of its kind: nothing is fitted, nothing is out of vocabulary, and what a kind
is worth is learned even for features that training never saw.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator
from functools import lru_cache

from anyascii import anyascii

from consumer.adapters.lexical_encoder import fold

REVISION = "subword-2"
"""Raised when the same text gives other ids: a model fits one revision only."""

KINDS = {
    "pair": 2048,
    "triple": 16384,
    "quadruple": 20480,
    "word": 20480,
    "code_part": 15872,
    "code": 16384,
    "sound_part": 4096,
    "sound": 8192,
    "voice_part": 8192,
    "voice": 8192,
    "script": 8192,
    "letter": 512,
    "skip": 2048,
}
"""Kind of feature → number of ids, in the order of their ranges. Those with a digit are codes."""

IDS = sum(KINDS.values())
MAX_IDS = 512
"""Of a text. About 80 words; what follows is not read."""

_STARTS = {kind: sum(list(KINDS.values())[:at]) for at, kind in enumerate(KINDS)}
_PARTS = {2: "pair", 3: "triple", 4: "quadruple"}
_MAX_WORDS = 32
_MAX_CHARS = 64
_CACHED = 50_000
_CACHED_CHARS = 48
_UNIT_CHARS = 3
_NAME_CHARS = 4

# In this order. Voicing, aspiration and vowels go: they are what transliterations and ears disagree on.
_SOUNDS = [
    (re.compile(pattern), sound)
    for pattern, sound in (
        ("eu", ""),  # the vowel that Korean puts between consonants
        ("ph|f|v|b", "p"),
        ("sch|tch|ch|sh|ts|tz|zh|th$", "s"),
        ("ck|q|g|c(?![eiy])", "k"),
        ("c|z|j", "s"),
        ("x", "ks"),
        ("d|th", "t"),
        ("r", "l"),
        ("ng", "n"),
        ("[aeiouyhw]", ""),
        (r"(.)\1+", r"\1"),
    )
]
_VOICES = [
    (re.compile(pattern), sound)
    for pattern, sound in (
        ("eu", ""),
        ("ph|f|v|b", "p"),
        ("sch|tch|ch|sh|ts|tz|zh|th$", "s"),
        ("ck|q|g|c(?![eiy])", "k"),
        ("c|z|j", "s"),
        ("x", "ks"),
        ("d|th", "t"),
        ("r", "l"),
        ("nk|ng", "n"),
        ("eo|ow|ou|oo|wo", "o"),
        ("ae|ya|wa", "a"),
        ("ee|ea|ie|ye|oe|ui", "i"),
        ("[ey]", "i"),
        ("[uw]", "o"),
        ("h", ""),
        (r"(.)\1+", r"\1"),
    )
]
_RUNS = re.compile(r"\d+|\D+")


def features(text: str) -> list[int]:
    """Distinct ids in `[0, 2 * IDS)`, at most MAX_IDS, in the order of the text; empty without a letter or a digit.

    What comes after the first comma has IDS added: a city tells less than the name before it.
    """
    found: dict[int, None] = {}
    number, part = "", 0
    for token in text.split():
        first, last, ids = _cached(token) if len(token) <= _CACHED_CHARS else _token(token)
        found.update(dict.fromkeys([part + feature for feature in ids] if part else ids))
        # "80 GB" is also "80GB".
        if number and first.isalpha() and len(first) <= _UNIT_CHARS:
            found[part + _id("code", number + first)] = None
        if last:
            number = last if last.isdigit() else ""
        if token.endswith(","):
            part = IDS
        if len(found) >= MAX_IDS:
            break
    return list(found)[:MAX_IDS]


def skeleton(word: str) -> str:
    """The consonants of a lower-case Latin word, by where in the mouth they are made: stephen → stpn."""
    for pattern, sound in _SOUNDS:
        word = pattern.sub(sound, word)
    return word


def voice(word: str) -> str:
    """The skeleton of a lower-case Latin word with its vowels in three classes: crasson and keulasong → klason."""
    for pattern, sound in _VOICES:
        word = pattern.sub(sound, word)
    return word


def _token(token: str) -> tuple[str, str, tuple[int, ...]]:
    words = [word[:_MAX_CHARS] for word in fold(token)[:_MAX_WORDS]]
    ids = [feature for word in words for feature in _word(word)]
    ids += [feature for word in words for part in _syllables(word) for feature in _word(part)]
    joined = "".join(words)
    if len(words) == 2 and joined.isalpha() and joined.isascii():
        ids += _voice(voice(joined))  # "Young-hee" is also "Younghee"
    if len(words) > 1 and _has_digit(joined):
        ids.append(_id("code", joined))  # "PM-100/B" is also "PM100B"
    return (words[0], words[-1], tuple(dict.fromkeys(ids))) if words else ("", "", ())


_cached = lru_cache(maxsize=_CACHED)(_token)


def _word(word: str) -> Iterator[int]:
    latin = word if word.isascii() else "".join(filter(str.isalnum, anyascii(word).lower()))
    if latin:
        yield from _spelling(latin)
    if latin.isalpha():
        yield from _sound(skeleton(latin))
        yield from _voice(voice(latin))
    elif not latin.isdigit():
        yield from (_id("code" if run.isdigit() else "word", run) for run in _RUNS.findall(latin))
    if not word.isascii() and not unicodedata.normalize("NFKD", word)[0].isascii():
        yield from (_id("script", part) for part in (*_parts(f"^{word}$", (1, 2, 3)), f"={word}"))


def _syllables(word: str) -> list[str]:
    """Of a name that Korean or Chinese writes in one word: the family name, the given name, its two syllables.

    In Latin letters: "Kim", "Young-hee" and "Young Hee" all share words with it.
    """
    if not 2 <= len(word) <= _NAME_CHARS or not all(map(_is_syllable, word)):
        return []
    first, *rest = (anyascii(letter).lower() for letter in word)
    return [first, "".join(rest), *(rest if len(rest) > 1 else ())]


def _is_syllable(letter: str) -> bool:
    return "\uac00" <= letter <= "\ud7a3" or "\u4e00" <= letter <= "\u9fff"


def _spelling(word: str) -> Iterator[int]:
    padded = f"^{word}$"
    coded = _has_digit(word)
    for length, kind in _PARTS.items():
        for part in _parts(padded, (length,)):
            yield _id("code_part" if coded and _has_digit(part) else kind, part)
    yield _id("code" if coded else "word", word)
    yield from (_id("letter", letter) for letter in word)
    # Every other letter: what a wrong one in between does not touch.
    yield from (_id("skip", padded[at] + padded[at + 2]) for at in range(len(padded) - 2))


def _sound(sound: str) -> Iterator[int]:
    if sound:
        yield from (_id("sound_part", part) for part in _parts(f"^{sound}$", (2, 3)))
        yield _id("sound", sound)


def _voice(sound: str) -> Iterator[int]:
    yield from (_id("voice_part", part) for part in _parts(f"^{sound}$", (2, 3)))
    yield _id("voice", sound)


def _parts(padded: str, lengths: tuple[int, ...]) -> Iterator[str]:
    return (padded[at : at + length] for length in lengths for at in range(len(padded) - length + 1))


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _id(kind: str, text: str) -> int:
    return _STARTS[kind] + zlib.crc32(text.encode("utf-8", "surrogatepass")) % KINDS[kind]
