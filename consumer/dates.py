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
    """Year, month, day: `3.7.1905` → `19050703`; `1905-07` → `190507`; None for what is no date.

    A year alone is left as it is, and so are eight digits, which are taken to begin with the year.

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
    month_first = int(first) <= _MONTHS and (int(second) > _MONTHS or not day_first)
    month, day = (first, second) if month_first else (second, first)
    return f"{year}{month.zfill(2)}{day.zfill(2)}"
