"""A date in any common form as digits, so that spelling compares two dates and not two ways to write one."""

import re

_COMPACT = re.compile(r"[0-9]{8}")
_BETWEEN = r" ?[-./ ] ?"
_YEAR_FIRST = re.compile(
    rf"([0-9]{{4}})(?:{_BETWEEN}([0-9]{{1,2}})(?:{_BETWEEN}([0-9]{{1,2}})(?:[T ].*)?)?)?", re.DOTALL
)
_YEAR_LAST = re.compile(rf"([0-9]{{1,2}}){_BETWEEN}([0-9]{{1,2}}){_BETWEEN}([0-9]{{4}})")
_MONTHS = 12
_NAMES = "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
_NUMBERS = {name[:3]: f"{number:02}" for number, name in enumerate(_NAMES.split("|"), 1)}
_GAP, _ORDINAL = r"[-./, ]{0,2}", "(?:st|nd|rd|th)?"
_NAMED = [
    re.compile(form, re.ASCII | re.IGNORECASE | re.DOTALL)  # a long s is no s to `lower`
    for form in (
        rf"(?P<day>[0-9]{{1,2}}){_ORDINAL}{_GAP}(?P<month>{_NAMES}){_GAP}(?P<year>[0-9]{{4}})(?:[T: ].*)?",
        rf"(?P<month>{_NAMES}){_GAP}(?:(?P<day>[0-9]{{1,2}}){_ORDINAL}[-./, ]{{1,2}})?(?P<year>[0-9]{{4}})",
        rf"(?P<year>[0-9]{{4}}){_GAP}(?P<month>{_NAMES})(?:{_GAP}(?P<day>[0-9]{{1,2}}){_ORDINAL})?",
    )
]


def digits_of(text: str, *, day_first: bool) -> str | None:
    """Year, month, day: `3.7.1905` → `19050703`; `05JUL1905` → `19050705`; `1905-07` → `190507`; None for what is no date.

    A year alone is left as it is, and so are eight digits, which are taken to begin with the year. Names of months are
    English, whole or short.

    `day_first` decides where the year comes last and both others could be the month. A day or month that no calendar has
    is left as it was written, since a slip is what is to be compared.
    """
    if _COMPACT.fullmatch(text):
        return text
    if (found := _YEAR_FIRST.fullmatch(text)) is not None:
        year, *rest = found.groups()
        return year + "".join(part.zfill(2) for part in rest if part)
    for form in _NAMED:
        if (found := form.fullmatch(text)) is not None:
            day = found["day"]
            return found["year"] + _NUMBERS[found["month"][:3].lower()] + (day.zfill(2) if day else "")
    if (found := _YEAR_LAST.fullmatch(text)) is None:
        return None
    first, second, year = found.groups()
    month_first = int(first) <= _MONTHS and (int(second) > _MONTHS or not day_first)
    month, day = (first, second) if month_first else (second, first)
    return f"{year}{month.zfill(2)}{day.zfill(2)}"
