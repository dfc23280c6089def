"""A date in any common form as digits, so that spelling compares two dates and not two ways to write one."""

import re

_COMPACT = re.compile(r"[0-9]{8}")
_BETWEEN = r" ?[-./ ] ?"
_YEAR_FIRST = re.compile(
    rf"([0-9]{{4}})(?:{_BETWEEN}([0-9]{{1,2}})(?:{_BETWEEN}([0-9]{{1,2}})(?:[T ].*)?)?)?", re.DOTALL
)
_YEAR_LAST = re.compile(rf"([0-9]{{1,2}}){_BETWEEN}([0-9]{{1,2}}){_BETWEEN}([0-9]{{4}})")
_MONTHS = 12


def digits_of(text: str, *, day_first: bool) -> str | None:
    """Year, month, day: `3.7.1905` → `19050703`; `1905-07` → `190507`, `1905` as it is; None for what is no date.

    `day_first` decides where the year comes last and both others could be the month. A day or month that no calendar has
    is left as it was written, since a slip is what is to be compared.
    """
    if _COMPACT.fullmatch(text):
        return text
    if (found := _YEAR_FIRST.fullmatch(text)) is not None:
        year, *rest = found.groups()
        return year + "".join(part.zfill(2) for part in rest if part)
    if (found := _YEAR_LAST.fullmatch(text)) is None:
        return None
    first, second, year = found.groups()
    swapped = int(first) <= _MONTHS if int(second) > _MONTHS else not day_first and int(first) <= _MONTHS
    day, month = (second, first) if swapped else (first, second)
    return f"{year}{month.zfill(2)}{day.zfill(2)}"
