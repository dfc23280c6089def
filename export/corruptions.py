"""How the same person or thing comes to be written differently, as a seeded generator: what an encoder should forgive.

Each function takes a text and a `random.Random`, and returns another spelling of the same; `sibling` returns another
thing that looks the same. The lists are ours: common knowledge, copied from no data set.
"""

import re
import string
from collections.abc import Sequence
from random import Random

from anyascii import anyascii

_NICKNAMES = [
    line.split()
    for line in [
        "william will bill billy willie wm",
        "robert rob bob bobby robt",
        "richard rick dick richie",
        "james jim jimmy jas jamie",
        "john jack johnny jon jno",
        "margaret maggie meg peggy",
        "elizabeth liz beth betty eliza lizzie",
        "katherine kate kathy katie catherine",
        "michael mike mick",
        "thomas tom tommy thos",
        "charles charlie chas chuck",
        "edward ed ted eddie edwd",
        "joseph joe joey jos",
        "george geo",
        "henry harry hank",
        "mary polly molly",
        "ann annie anne anna",
        "sarah sally sara",
        "alexander alex sandy sasha",
        "samuel sam saml",
        "benjamin ben benj",
        "daniel dan danny",
        "david dave davy",
        "matthew matt",
        "anthony tony",
        "andrew andy drew",
        "christopher chris kit",
        "nicholas nick nico",
        "patrick pat paddy",
        "stephen steve steven",
        "jennifer jen jenny",
        "jessica jess",
        "rebecca becky becca",
        "susan sue susie",
        "victoria vicky",
        "deborah debbie deb",
        "frederick fred freddie",
        "francis frank fran",
        "francisco paco pancho",
        "jose pepe",
        "giuseppe beppe",
        "johannes hans jan",
        "wilhelm willi",
        "friedrich fritz",
        "alexandra alex sandra",
        "ekaterina katya kate",
        "dmitri dima dmitry",
        "mikhail misha",
        "vladimir vova",
        "ivan vanya",
        "jacob jake jakob",
        "joshua josh",
        "jonathan jon",
        "zachary zach zac",
        "philip phil phillip",
        "gregory greg",
        "lawrence larry laurence",
        "leonard len leo",
        "peter pete pierre",
        "samantha sam",
        "amanda mandy",
        "isabella bella isabel",
        "eleanor ellie nell",
        "dorothy dot",
        "martha mattie",
        "caroline carrie",
        "theodore ted theo",
        "albert al bert",
        "archibald archie",
    ]
]
_NICKNAMES_OF = {name: group for group in _NICKNAMES for name in group}

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

_HONORIFICS = ("dr", "mr", "mrs", "ms", "sir", "prof", "rev.", "lady", "captain", "jr", "dr.", "mr.", "lord", "baron")

# What Hangul makes of Latin letters, read back in Latin letters.
_HANGUL = (
    ("ph", "p"), ("f", "p"), ("v", "b"), ("th", "s"), ("sh", "si"), ("ck", "k"), ("x", "kseu"), ("qu", "kw"),
    ("ch", "chi"), ("z", "j"), ("r", "l"), ("w", "u"), ("c(?=[eiy])", "s"), ("c", "k"), ("g(?=[ei])", "j"),
    ("y$", "i"), ("ee", "i"), ("oo", "u"), (r"(.)\1", r"\1"), ("e$", ""),
)  # fmt: skip

_NOISE = [
    "new",
    "original",
    "free",
    "shipping",
    "wholesale",
    "price",
    "sale",
    "hot",
    "best",
    "quality",
    "genuine",
    "used",
    "refurbished",
    "oem",
    "retail",
    "box",
    "promo",
    "cheap",
    "official",
    "buy",
    "online",
    "in",
    "stock",
    "warranty",
    "kit",
    "pack",
    "bundle",
    "black",
    "white",
    "with",
    "for",
    "by",
    "the",
    "and",
]
_OTHER = ("ii", "pro", "max", "mini", "red", "blue", "part 2", "plus", "2", "iii")


def person(text: str, chance: Random) -> str:
    """A name and a city ("Ann Lee, Leeds") as somebody else would type them: either changed, or both."""
    name, _, city = text.partition(", ")
    name = _name(name, chance) if chance.random() < 0.85 else name
    city = _city(city, chance) if city else ""
    changed = ", ".join(part for part in (name, city) if part) or text
    return changed.lower() if chance.random() < 0.3 else changed


def abroad(text: str, chance: Random) -> str:
    """A name and a city after a trip through another script and back."""
    name, _, city = text.partition(", ")
    # Greek and whatever comes after it in Unicode is romanised; Latin is written in Hangul.
    foreign = any(letter >= "\u0370" for letter in name)
    words = anyascii(name).split() if foreign else [_hangul(word, chance) for word in name.split()]
    if chance.random() < 0.3:
        words = [_sound(word.lower(), chance) for word in words]
    if chance.random() < 0.25:
        words.reverse()
    return ", ".join(part for part in (" ".join(words), anyascii(city)) if part)


def title(text: str, chance: Random) -> str:
    """A product's title as another shop would put it. Words with a digit stay: they are what the thing is."""
    words = text.split()
    for _ in range(chance.choice((1, 2, 3, 4, 6, 8)) if words else 0):
        at = chance.randrange(len(words))
        change = chance.random()
        if change < 0.15:
            words.insert(chance.randrange(len(words) + 1), chance.choice(_NOISE))
        elif change < 0.4:
            if len(words) > 2 and not _has_digit(words[at]):
                words.pop(at)
        elif change < 0.5:
            words.insert(chance.randrange(len(words)), words.pop(at))
        elif change < 0.6:
            words = words[at:] + words[:at]
        elif change < 0.72:
            words[at] = slip(words[at], chance) if words[at].isalpha() else words[at]
        elif change < 0.93:
            words = _codes(" ".join(words), chance).split()
        elif words[at].isalpha() and len(words[at]) > 4:
            words[at] = words[at][: chance.randrange(3, 5)] + chance.choice(("", "."))
    changed = " ".join(words) or text
    return changed.lower() if chance.random() < 0.3 else changed


def sibling(text: str, chance: Random) -> str:
    """Another thing of the same family: one digit of a code or a size differs, or a word."""
    words = text.split()
    codes = [at for at, word in enumerate(words) if _has_digit(word)]
    if codes and chance.random() < 0.85:
        at = chance.choice(codes)
        digit = chance.choice([place for place, letter in enumerate(words[at]) if letter.isdigit()])
        other = chance.choice([letter for letter in string.digits if letter != words[at][digit]])
        words[at] = words[at][:digit] + other + words[at][digit + 1 :]
    elif words:
        words[chance.randrange(len(words))] = chance.choice(_OTHER)
    changed = " ".join(words)
    return changed if changed != text else f"{text} 2"


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
    if change < 0.18 and lower in _NICKNAMES_OF:
        return chance.choice(_NICKNAMES_OF[lower])
    if change < 0.55:
        return slip(word, chance)
    if change < 0.8:
        return _sound(lower, chance)
    if change < 0.9:
        return slip(slip(word, chance), chance)
    return anyascii(word)


def _sound(word: str, chance: Random) -> str:
    options = [pair for one in _CONFUSED for pair in (one, one[::-1]) if pair[0] in word]
    return word.replace(*chance.choice(options), 1) if options else slip(word, chance)


def _city(text: str, chance: Random) -> str:
    change = chance.random()
    if change < 0.4:
        return text
    if change < 0.6:
        return " ".join(_word(word, chance) if chance.random() < 0.5 else word for word in text.split())
    if change < 0.7:
        return ""
    if change < 0.8:
        for whole, short in (("saint ", "st "), ("Saint ", "St "), ("north ", "n "), ("upon", "on"), ("new ", "n ")):
            text = text.replace(whole, short)
        return text
    return " ".join(text.split()[:1]) if change < 0.9 else anyascii(text)


def _hangul(word: str, chance: Random) -> str:
    """A Latin word as it reads once written in Hangul and romanised: every consonant gets a vowel."""
    word = anyascii(word).lower()
    for pattern, sound in _HANGUL:
        if chance.random() < 0.9:
            word = re.sub(pattern, sound, word)
    if not word:
        return ""
    syllables = []
    for letter, after in zip(word, f"{word[1:]} ", strict=True):
        syllables.append(letter)
        closes = letter in "lmn" or after == "h" or (letter in "kpt" and chance.random() < 0.3)
        if letter.isalpha() and letter not in "aeiouywh" and after not in "aeiouyw" and not closes:
            syllables.append("eu")
    return "".join(syllables)


def _codes(text: str, chance: Random) -> str:
    """80GB, 80 GB and 80-GB; AB-12, AB/12, AB 12 and AB12."""
    pattern, joiners = chance.choice(_CODE_FORMS)
    return re.sub(pattern, lambda found: found[1] + chance.choice(joiners) + found[2], text)


_CODE_FORMS: Sequence[tuple[str, Sequence[str]]] = (
    (r"(\d)([A-Za-z])", (" ", "-", "")),
    (r"(\d)[ -]([A-Za-z]{1,3})\b", ("",)),
    (r"(\w)[-/](\w)", (" ", "")),
)


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))
