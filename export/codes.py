"""What tells one product from the next: model codes, part numbers, sizes and units, and how shops write them."""

import re
import string
from collections.abc import Sequence
from random import Random

_PATTERNS = (
    "L9", "L99", "LL9", "LL99", "LL999", "L999", "LL-999", "L-99", "LLL999", "LL9999", "9999", "999L", "LL99L999",
    "LLL-L99", "LL-L999", "999999-999", "L9999L", "LL999LL", "99999", "LLL99/L", "L99-99L", "9LL", "LL 99", "L 999",
    "LL9L", "999-9999", "LLLL9999", "L9L99LL", "mark 9", "v9", "series 9", "9.9",
)  # fmt: skip
_UNITS = {
    "GB": (1, 2, 4, 8, 16, 32, 64, 80, 128, 146, 160, 250, 256, 300, 320, 500, 512), "TB": (1, 2, 3, 4, 6, 8),
    "MB": (128, 256, 512), "inch": (10, 13, 15, 17, 19, 22, 24, 27, 32, 40, 42, 50, 55), "GHz": (1.6, 2.4, 2.8, 3.2, 5),
    "MP": (5, 8, 10, 12, 16, 20, 24), "mm": (18, 35, 50, 55, 85, 200, 300), "ml": (50, 100, 200, 250, 500, 750),
    "l": (1, 1.5, 2, 5), "g": (50, 100, 200, 250, 500), "kg": (1, 2, 5, 10), "oz": (4, 8, 12, 16), "W": (5, 40, 60, 750),
    "V": (12, 18, 110, 220), "mAh": (1000, 2000, 5000, 10000), "cm": (30, 60, 90, 120), "m": (1, 2, 3, 5, 10),
    "ft": (3, 6, 10, 25), "pcs": (2, 3, 5, 10, 12), "pack": (2, 3, 4, 6), "RPM": (5400, 7200, 10000), "Hz": (50, 60, 144),
    "k": (4, 7.2, 10, 15), "x": (2, 3, 5, 8, 10, 20), "port": (4, 8, 16, 24), "core": (2, 4, 6, 8),
}  # fmt: skip
# 80GB, 80 GB and 80-GB; AB-12, AB/12, AB 12 and AB12.
_FORMS: Sequence[tuple[str, Sequence[str]]] = (
    (r"(\d)([A-Za-z])", (" ", "-", "")),
    (r"(\d)[ -]([A-Za-z]{1,4})\b", ("",)),
    (r"(\w)[-/](\w)", (" ", "")),
)


def code(chance: Random) -> str:
    """Such as DSC-W120 or 349237-B21."""
    digits, letters = string.digits, string.ascii_uppercase
    drawn = {"L": letters, "9": digits}
    return "".join(chance.choice(drawn[one]) if one in drawn else one for one in chance.choice(_PATTERNS))


def size(chance: Random) -> str:
    """Such as 500 ml."""
    unit = chance.choice(list(_UNITS))
    return f"{chance.choice(_UNITS[unit])}{chance.choice(('', ' ', ' ', '-'))}{unit}"


def reformatted(text: str, chance: Random) -> str:
    """The same codes and sizes with other separators."""
    pattern, joiners = chance.choice(_FORMS)
    return re.sub(pattern, lambda found: found[1] + chance.choice(joiners) + found[2], text)


def has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))
