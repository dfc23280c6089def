"""What a product's text says in codes and numbers: model and part numbers, and quantities in one unit each.

`16 GB` and `16384mb` are the same quantity, `MB397G/A` and `mb397ga` the same code, `6 x 330 ml` is a pack of 6. Pure:
text in, codes and quantities out.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

REVISION: Final = "product-codes-1"
"""Part of an encoder's fingerprint; raised when codes or quantities change for the same text."""

_UNITS: Final[Sequence[tuple[str, float, str]]] = (
    # kind, how many of its least unit one is, how shops write it
    ("data", 1, "kb kilobyte kilobytes"),
    ("data", 1024, "mb meg megabyte megabytes"),
    ("data", 1024**2, "gb gig gigabyte gigabytes"),
    ("data", 1024**3, "tb terabyte terabytes"),
    ("length", 1, "mm millimeter millimetre millimeters millimetres"),
    ("length", 10, "cm centimeter centimetre centimeters centimetres"),
    ("length", 25.4, "in inch inches zoll \" \u201d '' '"),
    ("length", 304.8, "ft foot feet"),
    ("length", 1000, "m meter metre meters metres"),
    ("volume", 1, "ml milliliter millilitre"),
    ("volume", 10, "cl"),
    ("volume", 29.574, "floz"),
    ("volume", 1000, "l lt ltr liter litre liters litres"),
    ("mass", 1, "mg milligram milligrams"),
    ("mass", 1000, "g gr gm gram grams gramm"),
    ("mass", 28_349.5, "oz ounce ounces"),
    ("mass", 453_592, "lb lbs pound pounds"),
    ("mass", 1_000_000, "kg kgs kilo kilogram kilograms"),
    ("power", 1, "w watt watts"),
    ("power", 1000, "kw kilowatt"),
    ("voltage", 1, "v volt volts"),
    ("charge", 1, "mah"),
    ("charge", 1000, "ah"),
    ("frequency", 1, "hz"),
    ("frequency", 1e3, "khz"),
    ("frequency", 1e6, "mhz"),
    ("frequency", 1e9, "ghz"),
    ("resolution", 1, "mp megapixel megapixels mpix"),
    ("turns", 1, "rpm"),
    ("zoom", 1, "x"),
)
_PACK_WORDS: Final = "packs?|pk|pcs?|pieces?|ct|count|pairs?|units|st\u00fcck|stk"
_FACTORS: Final = {word: (kind, factor) for kind, factor, words in _UNITS for word in words.split()}
_WORDS: Final = "|".join(
    r"in(?!\s?[0-9])" if word == "in" else re.escape(word)  # `4 in 1` is no length
    for word in sorted(_FACTORS, key=len, reverse=True)
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_QUANTITY = re.compile(
    # not inside a longer code: `CMFSL3X2-256GB` is one
    rf"(?<![\w.,])(?<!\w[-/])({_THOUSANDS.pattern}|[0-9]{{1,12}}(?:[.,][0-9]{{1,6}})?)[\s-]?({_WORDS})(?![\w'])"
)
_TIMES = re.compile(rf"(?<![\w.,])([0-9]{{1,3}})\s?[x\u00d7]\s?(?=[0-9]{{1,5}}(?:[.,][0-9]+)?\s?(?:{_WORDS})?(?!\w))")
_PACKS = re.compile(rf"(?<![\w.,])([0-9]{{1,4}})[\s-]?(?:{_PACK_WORDS})(?!\w)")
_PACK = re.compile(r"(?<!\w)(?:x\s?|(?:pack|set|lot|box|case|isi)(?:\s+of)?\s+)([0-9]{1,4})(?!\w)")
_FLUID_OUNCES = re.compile(r"\bfl\.?\s*oz\b")
_TOKEN = re.compile(r"\w+(?:[-._]\w+|/\w{1,2}\b)*")
_SEPARATORS = re.compile(r"[-/._]")
_COUNTED = re.compile(r"([0-9]{1,4})([a-z]*)")
_STEM = re.compile(r"[a-z]*[0-9]+")
_MAX_CHARS: Final = 1_000
_MAX_CODE_CHARS: Final = 32
_STEM_CHARS: Final = 5


def codes(text: str) -> Iterator[tuple[str, float]]:
    """Model and part numbers with their weights, in the order of the text; one may come twice.

    A code has four characters or more and two digits among them, and is not a number before a word (`1080p`, `6-disc`).
    It weighs more the longer it is, since long ones are rare. What stands before its last letters (`cli221` of
    `CLI-221YEL`, a colour mostly) comes as a code of half the weight. Only the first 1,000 characters are read.
    """
    for token in _tokens(_read(text)[1]):
        if len(token) < 4 or sum(map(str.isdigit, token)) < 2 or _COUNTED.fullmatch(token):
            continue
        # A UPC is a GTIN without its leading zeros.
        code = (token.lstrip("0") or token if token.isdecimal() else token)[:_MAX_CODE_CHARS]
        weight = min(len(code), 10) / 5
        yield code, weight
        stem = _STEM.match(code)
        if stem and len(stem[0]) >= _STEM_CHARS and stem[0] != code:
            yield stem[0], weight / 2


def quantities(text: str) -> Iterator[tuple[str, float]]:
    """Kinds of quantity with their values above 0, in the order of the text; a kind may come several times.

    A number without a unit that is known has the word after it as its kind (`4th`, `1080p`), or none (`vol 2`).
    """
    found, rest = _read(text)
    yield from found
    for token in _tokens(rest):
        counted = _COUNTED.fullmatch(token)
        if counted and int(counted[1]):
            yield counted[2], float(counted[1])


def _read(text: str) -> tuple[list[tuple[str, float]], str]:
    """Quantities that have a unit, and the text without them."""
    rest = _FLUID_OUNCES.sub("floz", unicodedata.normalize("NFKC", text[:_MAX_CHARS]).casefold())
    found: list[tuple[str, float]] = []
    for pattern in (_TIMES, _PACKS, _QUANTITY, _PACK):
        found += [("pack", float(m[1])) if pattern is not _QUANTITY else _quantity(m) for m in pattern.finditer(rest)]
        rest = pattern.sub(" ", rest)
    return [(kind, value) for kind, value in found if value], rest


def _quantity(match: re.Match[str]) -> tuple[str, float]:
    kind, factor = _FACTORS[match[2]]
    digits = match[1]
    return kind, float(digits.replace(",", "" if _THOUSANDS.fullmatch(digits) else ".")) * factor


def _tokens(text: str) -> Iterator[str]:
    """Words, and what hyphens, dots and a short ending after a slash (`MB397G/A`) join, without them."""
    return (_SEPARATORS.sub("", token) for token in _TOKEN.findall(text))
