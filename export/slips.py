"""Slips of hand and ear: one wrong key, one letter for another that sounds or looks like it.

The lists are ours: common knowledge, copied from no data set.
"""

import string
from random import Random

_NEXT_KEY = {
    key: after
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for key, after in zip(row, row[1:] + row[-2], strict=True)
}

# Both ways round: spellings of one sound, and letters that look alike on paper.
_CONFUSED = (
    ("ph", "f"), ("ck", "k"), ("y", "i"), ("ie", "y"), ("ei", "ie"), ("s", "z"), ("c", "k"), ("ll", "l"), ("tt", "t"),
    ("nn", "n"), ("ss", "s"), ("mac", "mc"), ("son", "sen"), ("v", "w"), ("ou", "u"), ("ee", "ea"), ("sch", "sh"),
    ("th", "t"), ("x", "ks"), ("j", "y"), ("kh", "h"), ("ya", "ia"), ("yu", "iu"), ("oe", "o"), ("ue", "u"),
    ("ae", "a"), ("dj", "j"), ("tz", "ts"), ("gh", "g"), ("e", "a"), ("o", "u"), ("au", "o"), ("rn", "m"),
)  # fmt: skip


def slip(text: str, chance: Random) -> str:
    """One slip of the keyboard: a letter missing, doubled, swapped, its neighbour, or one too many."""
    if len(text) < 2:
        return text
    at = chance.randrange(len(text))
    before, letter, after = text[:at], text[at], text[at + 1 :]
    kind = chance.random()
    if kind < 0.25:
        return before + after
    if kind < 0.45:
        return before + letter * 2 + after
    if kind < 0.65 and after:
        return before + after[0] + letter + after[1:]
    if kind < 0.85:
        return before + _NEXT_KEY.get(letter.lower(), chance.choice(string.ascii_lowercase)) + after
    return before + chance.choice(string.ascii_lowercase) + letter + after


def misheard(word: str, chance: Random) -> str:
    """A lower-case word with one sound in another spelling; a slip where it has no such sound."""
    options = [pair for one in _CONFUSED for pair in (one, one[::-1]) if pair[0] in word]
    return word.replace(*chance.choice(options), 1) if options else slip(word, chance)
