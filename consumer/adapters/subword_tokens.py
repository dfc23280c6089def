"""A text as the ids of its features, for `SubwordEncoder`: pieces of its words, their sound, and their Latin form.

Every word is read by its letters, which are romanised first so that Hangul or Cyrillic meet Latin; by a rough consonant
skeleton, without vowels and with three classes of them, so that "Bosworth" meets what Korean makes of it; and, where the
script is another one, in that script too. A short word of Hangul or Han is also read as a family name and a given name.
A feature's id is a CRC-32 within the range of its kind: nothing is fitted, nothing is out of vocabulary, and what a kind
is worth is learned even for features that training never saw.
"""

import re
import unicodedata
from array import array
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import AnyStr
from zlib import crc32

import numpy as np
from anyascii import anyascii

from consumer.adapters.lexical_encoder import fold
from consumer.records import Integers

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
_IS_CODE = np.repeat([kind in {"code", "code_part"} for kind in KINDS], list(KINDS.values()))
"""Of each id."""
_PARTS = {2: "pair", 3: "triple", 4: "quadruple"}
_MAX_WORDS = 32
_MAX_CHARS = 64
_CACHED = 20_000
_CACHED_CHARS = 48
_UNIT_CHARS = 3
_BYTES = np.intc().itemsize
_NAME_CHARS = 4

# Voicing, aspiration and vowels go: they are what transliterations and ears disagree on. A replacement of plain text takes
# a fifth of the time of a pattern, and a table of letters does many in one pass.
_HISSES = re.compile("sch|tch|ch|sh|ts|tz|zh|th$")
_HARD = re.compile("ck|q|g|c(?![eiy])")
_LETTERS = str.maketrans({"f": "p", "v": "p", "b": "p", "c": "s", "z": "s", "j": "s", "x": "ks", "d": "t", "r": "l"})
_NO_VOWELS = str.maketrans("", "", "aeiouyhw")
_VOWELS = [(re.compile("eo|ow|ou|oo|wo"), "o"), (re.compile("ae|ya|wa"), "a"), (re.compile("ee|ea|ie|ye|oe|ui"), "i")]
_VOWEL_CLASSES = str.maketrans("eyuw", "iioo", "h")
_REPEATED = re.compile(r"(.)\1+")
_RUNS = re.compile(r"\d+|\D+")


def features(text: str) -> list[int]:
    """The ids of one text, as `features_of` has them."""
    ids: list[int] = features_of([text])[0].tolist()
    return ids


def features_of(texts: Sequence[str], *, codes: bool = True) -> list[Integers]:
    """Distinct ids of each text in `[0, 2 * IDS)`, at most MAX_IDS, in its order; empty without a letter or a digit.

    What comes after the first comma has IDS added: a city tells less than the name before it. Without `codes`, those of
    the kinds `code` and `code_part` are left out.
    """
    read = [_read(text) for text in texts]
    ids = np.frombuffer(b"".join(map(b"".join, read)), np.intc).astype(np.int64)
    sizes = np.array([sum(map(len, pieces)) // _BYTES for pieces in read], np.int64)
    owners = np.repeat(np.arange(len(texts)), sizes)
    if not codes:
        kept = ~_IS_CODE[ids % IDS]
        ids, owners = ids[kept], owners[kept]
    # Sorted with their places behind them, equal ids of a text stand together, the first of them in front.
    bits = len(ids).bit_length()
    keys = np.sort((owners * (2 * IDS) + ids) << bits | np.arange(len(ids)))
    first = np.diff(keys >> bits, prepend=-1) != 0
    places = np.sort(keys[first] & ((1 << bits) - 1))
    ends = np.cumsum(np.bincount(owners[places], minlength=len(texts))).tolist()
    distinct = ids[places]
    return [distinct[start : min(end, start + MAX_IDS)] for start, end in pairwise([0, *ends])]


def _read(text: str) -> Collection[bytes]:
    """The ids of the different words of a text, in its order, at least up to the last id that counts."""
    found: dict[bytes, None] = {}
    number, part = "", 0
    total, enough = 0, MAX_IDS
    for token in text.split():
        first, last, ids = _cached(token, part) if len(token) <= _CACHED_CHARS else _token(token, part)
        if ids not in found:
            found[ids] = None
            total += len(ids) // _BYTES
        # "80 GB" is also "80GB".
        if number and first.isalpha() and len(first) <= _UNIT_CHARS:
            found[_packed([part + _id("code", number + first)])] = None
        if last:
            number = last if last.isdigit() else ""
        if token.endswith(","):
            part = IDS
        if total >= enough:
            distinct = len(np.unique(np.frombuffer(b"".join(found), np.intc)))
            if distinct >= MAX_IDS:
                break
            enough = total + MAX_IDS - distinct
    return found


def voice(word: str) -> str:
    """The skeleton of a lower-case Latin word with its vowels in three classes: crasson and keulasong → klason."""
    return _voiced(_heard(word))


def _heard(word: str) -> str:
    """What a skeleton and a voice have in common: the classes of consonants, with the vowels as they are."""
    word = word.replace("eu", "").replace("ph", "p")  # "eu" is the vowel that Korean puts between consonants
    return _HARD.sub("k", _HISSES.sub("s", word)).replace("th", "t").translate(_LETTERS)


def _skeleton(heard: str) -> str:
    return _REPEATED.sub(r"\1", heard.translate(_NO_VOWELS))


def _voiced(heard: str) -> str:
    heard = heard.replace("nk", "n")
    for pattern, vowel in _VOWELS:
        heard = pattern.sub(vowel, heard)
    return _REPEATED.sub(r"\1", heard.translate(_VOWEL_CLASSES))


def _token(token: str, part: int) -> tuple[str, str, bytes]:
    """Its first word, its last, and its ids with `part` added, packed: as numbers they would take ten times the memory."""
    words = [word[:_MAX_CHARS] for word in fold(token)[:_MAX_WORDS]]
    ids = [feature for word in words for feature in _word(word)]
    ids += [feature for word in words for part in _syllables(word) for feature in _word(part)]
    joined = "".join(words)
    if len(words) == 2 and joined.isalpha() and joined.isascii():
        ids += _voice(voice(joined))  # "Young-hee" is also "Younghee"
    if len(words) > 1 and _has_digit(joined):
        ids.append(_id("code", joined))  # "PM-100/B" is also "PM100B"
    if part:
        ids = [part + feature for feature in ids]
    return (words[0], words[-1], _packed(list(dict.fromkeys(ids)))) if words else ("", "", b"")


_cached = lru_cache(maxsize=_CACHED)(_token)


def _word(word: str) -> list[int]:
    latin = word if word.isascii() else "".join(filter(str.isalnum, anyascii(word).lower()))
    ids = _spelling(latin.encode()) if latin else []
    if latin.isalpha():
        heard = _heard(latin)
        if sound := _skeleton(heard).encode():
            ids += _ids("sound_part", _parts(b"^%b$" % sound, (2, 3)))
            ids += _ids("sound", [sound])
        ids += _voice(_voiced(heard))
    elif not latin.isdigit():
        ids += [_id("code" if run.isdigit() else "word", run) for run in _RUNS.findall(latin)]
    if not word.isascii() and not unicodedata.normalize("NFKD", word)[0].isascii():
        ids += [_id("script", part) for part in (*_parts(f"^{word}$", (1, 2, 3)), f"={word}")]
    return ids


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


def _spelling(word: bytes) -> list[int]:
    padded = b"^%b$" % word
    coded = _has_digit(word.decode())
    ids = []
    for length, kind in _PARTS.items():
        parts = _parts(padded, (length,))
        if coded:
            ids += [_id("code_part" if _has_digit(part) else kind, part) for part in map(bytes.decode, parts)]
        else:
            ids += _ids(kind, parts)
    ids += _ids("code" if coded else "word", [word])
    ids += [_LETTER_IDS[letter] for letter in word]
    # Every other letter: what a wrong one in between does not touch.
    ids += _ids("skip", [padded[at : at + 3 : 2] for at in range(len(padded) - 2)])
    return ids


def _voice(sound: str) -> list[int]:
    content = sound.encode()
    return [*_ids("voice_part", _parts(b"^%b$" % content, (2, 3))), *_ids("voice", [content])]


def _parts(padded: AnyStr, lengths: Sequence[int]) -> list[AnyStr]:
    return [padded[at : at + length] for length in lengths for at in range(len(padded) - length + 1)]


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _packed(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()


def _id(kind: str, text: str) -> int:
    return _ids(kind, [text.encode("utf-8", "surrogatepass")])[0]


def _ids(kind: str, parts: Sequence[bytes]) -> list[int]:
    start, count = _STARTS[kind], KINDS[kind]
    return [start + crc32(part) % count for part in parts]


_LETTER_IDS = _ids("letter", [bytes([letter]) for letter in range(128)])
