"""The device a record came from, as a vector: browser family and operating system family.

Versions drift within weeks, families do not, so versions are dropped. Two records on the same family and system have
cosine 1, with one of both in common .5, with none 0. The same device is no proof of the same person (half a
population runs the same one): a profile must keep it from deciding alone.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consumer.errors import SettingsError
from consumer.records import Embeddings, FieldValue, Floats

_REVISION = "device-1"
_MAX_CHARS = 512
_NAMED = 12
_HASHED = 6
_KIND = _NAMED + _HASHED
"""Columns per field: named families first, then those that unknown names are hashed into."""
BROWSER, SYSTEM = slice(0, _KIND), slice(_KIND, 2 * _KIND)
"""Columns of either field."""

# Both lists are searched in order, since browsers claim to be each other: Edge says Chrome, Chrome says Safari.
_BROWSERS = {
    "edge": r"edg(e|a|ios)?\b",
    "opera": r"\bopera\b|\bopr\b|\bopios\b",
    "samsung": r"samsung",
    "yandex": r"yabrowser|yandex",
    "uc": r"uc ?browser",
    "vivaldi": r"vivaldi",
    "brave": r"\bbrave\b",
    "duckduckgo": r"duckduckgo|\bddg\b",
    "firefox": r"firefox|fxios|\bfocus\b",
    "chrome": r"chrom(e|ium)|crios",
    "explorer": r"\bmsie\b|trident|internet explorer",
    "safari": r"safari",
}
_SYSTEMS = {
    "ios": r"iphone|ipad|ipod|\bios\b|ipados",
    "android": r"android",
    "chromeos": r"\bcros\b|chrome ?os",
    "windows": r"\bwindows|\bwin(32|64|nt)?\b",
    "macos": r"mac ?os|macintosh|\bos x\b|\bdarwin\b|^mac\b",
    "linux": r"linux|ubuntu|debian|fedora|\bx11\b",
}
_Families = Sequence[tuple[int, re.Pattern[str]]]


def _compiled(families: Mapping[str, str]) -> _Families:
    return [(column, re.compile(pattern)) for column, pattern in enumerate(families.values())]


_BROWSER_FAMILIES = _compiled(_BROWSERS)
_SYSTEM_FAMILIES = _compiled(_SYSTEMS)
_VERSION = re.compile(r"[\W\d_]+")
_USER_AGENT = re.compile(r"^\w+/\d[^(]*\(")
"""`Mozilla/5.0 (...`: a full user agent names its system as well."""


class DeviceEncoder:
    """Encode a browser and an operating system. Implements `consumer.ports.Encoder`.

    Reads names with or without versions (`Chrome 120.0`, `Mobile Safari/605`) and full user agents; from a user agent
    in the browser's field the system is read too where its own field is missing. A name that is not known is hashed,
    without its version, into one of 6 columns, so two unknown ones agree by chance one time in six. A row without
    either field, or without a letter in them, is absent.
    """

    def __init__(self, browser_field: str, os_field: str) -> None:
        if not browser_field or not os_field or browser_field == os_field:
            raise SettingsError("device encoder: two different fields are needed, the browser's and the system's")
        self._browser_field = browser_field
        self._os_field = os_field

    @property
    def dim(self) -> int:
        """Length of a vector: 36, half for the browser and half for the system."""
        return 2 * _KIND

    @property
    def revision(self) -> str:
        """Of the features, the families known to this file among them: what a fitted model was fitted on."""
        known = repr((_BROWSERS, _SYSTEMS)).encode()
        return f"{_REVISION}-{hashlib.blake2b(known, digest_size=4).hexdigest()}"

    @property
    def fingerprint(self) -> str:
        """Digest of the fields and of the families known to this file."""
        options = (_REVISION, self._browser_field, self._os_field, _BROWSERS, _SYSTEMS)
        return hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, 36]."""
        families, present = self.features(rows)
        both = np.maximum(families.sum(axis=1, keepdims=True), 1.0)
        return Embeddings(np.asarray(families / np.sqrt(both), np.float32), present)

    def features(self, rows: Sequence[Mapping[str, FieldValue]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """float32 [n, 36]: 1 at the browser's family and 1 at the system's, if there; and which rows have either."""
        families = np.zeros((len(rows), self.dim), np.float32)
        for i, row in enumerate(rows):
            browser, system = _text(row.get(self._browser_field)), _text(row.get(self._os_field))
            if not system and _USER_AGENT.match(browser):
                system = browser
            columns = (_column(browser, of_system=False), _column(system, of_system=True))
            families[i, [column for column in columns if column is not None]] = 1.0
        return families, np.asarray(families.any(axis=1), np.bool_)


def _text(value: FieldValue | None) -> str:
    return value[:_MAX_CHARS].strip().lower() if isinstance(value, str) else ""


@lru_cache(maxsize=4_096)
def _column(text: str, *, of_system: bool) -> int | None:
    start = _KIND if of_system else 0
    for column, pattern in _SYSTEM_FAMILIES if of_system else _BROWSER_FAMILIES:
        if pattern.search(text):
            return start + column
    name = _VERSION.sub("", text)
    if not name:
        return None
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return start + _NAMED + int.from_bytes(digest) % _HASHED
