"""Dates in the forms in which people write them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.dates import digits_of


@given(st.dates(date(1000, 1, 1)))
def test_every_form_of_a_date_gives_the_same_digits(day: date) -> None:
    digits = f"{day.year:04}{day.month:02}{day.day:02}"
    forms = [f"{day.isoformat()}", digits, f"{day.year}/{day.month}/{day.day}", f"{day.isoformat()}T10:30:00Z"]
    for form in (*forms, f"{day.day}.{day.month}.{day.year}", f"{day.day:02} / {day.month:02} / {day.year}"):
        assert digits_of(form, day_first=True) == digits
    for form in (*forms, f"{day.month}/{day.day}/{day.year}"):
        assert digits_of(form, day_first=False) == digits
    month = ["January", "February", "March", "April", "May", "June", "July"]
    month += ["August", "September", "October", "November", "December"]
    name = month[day.month - 1]
    named = [
        f"{day.day} {name} {day.year}",
        f"{name} {day.day}, {day.year}",
        f"{day.day:02}{name[:3].upper()}{day.year}",
    ]
    named += [
        f"{day.day}-{name[:3]}-{day.year}",
        f"{day.year} {name[:3].lower()} {day.day:02}",
        f"{name[:3]}. {day.day}, {day.year}",
    ]
    assert {digits_of(form, day_first=first) for form in named for first in (True, False)} == {digits}


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("31/12/1999", "19991231"),
        ("12/31/1999", "19991231"),
        ("1905", "1905"),
        ("1905-7", "190507"),
        ("19051345", "19051345"),
        ("1905-13-45", "19051345"),
        ("99/99/1905", "19059999"),
        ("July 1905", "190507"),
        ("1905-Sept", "190509"),
        ("3rd July 1905", "19050703"),
        ("05JUL1905:10:30:00", "19050705"),
        ("45 Jul 1905", "19050745"),
        ("Jul 31905", None),
        ("Juillet 1905", None),
        ("5 Jul 05", None),
        ("mayor 1905", None),
        ("3.7.05", None),
        ("190507", None),
        ("", None),
        ("unknown", None),
        ("\u0661\u0669\u0660\u0665", None),
    ],
)
def test_what_is_told_is_kept_and_nothing_is_guessed(text: str, digits: str | None) -> None:
    assert digits_of(text, day_first=True) == digits
    assert digits_of(text, day_first=False) == digits


@given(st.text(), st.booleans())
def test_no_text_raises(text: str, day_first: bool) -> None:
    found = digits_of(text, day_first=day_first)
    assert found is None or (found.isdigit() and 4 <= len(found) <= 8)


def test_a_long_s_is_no_letter_of_a_month() -> None:
    assert digits_of("3 \N{LATIN SMALL LETTER LONG S}ep 1905", day_first=True) is None
