"""What Hypothesis draws: bytes that are nearly right, names of the world, signups."""

from datetime import datetime, timedelta, timezone

import msgpack
import orjson
from hypothesis import strategies as st

from consumer.profile import Profile

_RANGES = {
    "Latin": "\u0041\u017f",
    "Greek": "\u0391\u03c9",
    "Cyrillic": "\u0410\u044f",
    "Arabic": "\u0621\u064a",
    "Hebrew": "\u05d0\u05ea",
    "Devanagari": "\u0905\u0939",
    "Thai": "\u0e01\u0e2e",
    "Hangul": "\uac00\ud7a3",
    "Kana": "\u3041\u3096",
    "Han": "\u4e00\u4fff",
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.datetimes().map(str)
)
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def names() -> st.SearchStrategy[str]:
    """One to three words of one script."""
    words = [
        st.text(st.characters(min_codepoint=ord(r[0]), max_codepoint=ord(r[1])), min_size=1) for r in _RANGES.values()
    ]
    return st.one_of([st.lists(word, min_size=1, max_size=3).map(" ".join) for word in words])


def timestamps() -> st.SearchStrategy[str]:
    """ISO 8601, with and without an offset."""
    zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    return st.datetimes(timezones=zones).map(datetime.isoformat)


def signups() -> st.SearchStrategy[dict[str, object]]:
    """Valid values of the person profile: every field may be missing or null."""
    devices = st.sampled_from(["Chrome 120.0", "Firefox", "Mobile Safari/605", "Linux", "iOS", "Netscape", ""])
    fields: dict[str, st.SearchStrategy[object]] = {
        "name": st.none() | names(),
        "city": st.none() | names(),
        "browser": st.none() | devices,
        "os": st.none() | devices,
        "login_times": st.none() | st.lists(timestamps(), max_size=6),
    }
    return st.fixed_dictionaries({}, optional=fields)


def any_value(profile: Profile) -> st.SearchStrategy[bytes | None]:
    """Message values: noise, JSON of any shape, objects with the profile's fields holding anything, cut JSON."""
    fields = st.sampled_from(sorted({*profile.fields, "id"}))
    objects = st.dictionaries(fields | st.text(max_size=8), JSON_VALUES, max_size=6)
    documents = (JSON_VALUES | objects).map(orjson.dumps)
    cut = st.tuples(documents, st.integers(0, 40)).map(lambda pair: pair[0][: -pair[1] or None])
    return st.none() | st.binary(max_size=60) | documents | cut


def msgpack_values() -> st.SearchStrategy[bytes]:
    """MessagePack of any shape, and vector bodies with wrong parts."""
    odd = st.floats() | st.binary(max_size=20) | SCALARS | st.lists(SCALARS, max_size=4)
    keys = st.sampled_from(["v", "scope", "fp", "src", "in", "born", "q", "mask", "vec"])
    return (odd | st.dictionaries(keys, odd, max_size=9)).map(msgpack.packb)
