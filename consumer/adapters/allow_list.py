"""Which addresses may be read. A producer of records must not choose what this process opens: the operator does.

An address is taken apart first, and what cannot be taken apart without doubt is refused: credentials, backslashes,
control characters, dot segments in any encoding. What is sent is made of the parts that were checked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from consumer.errors import SettingsError

SCHEMES = ("file", "https", "http", "s3")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*|)(?P<query>\?[^#]*|)"
)
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_PORTS = {"http": 80, "https": 443}
_DECODINGS = 4
"""A segment that still changes when it is decoded for the fourth time hides something."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address taken apart. Two that name one place are equal."""

    scheme: str
    authority: str
    """Host with the port where it is not the scheme's own; bucket; empty for a file."""
    segments: tuple[str, ...]
    """Of the path, decoded once (those of S3, whose keys have no encoding, never)."""
    query: str = ""

    @property
    def url(self) -> str:
        """As it is sent. A file's path and an S3 key are written plainly, as fsspec takes them."""
        if self.scheme in _PORTS:
            path = "/".join(quote(segment, safe="!$&'()*+,;=:@") for segment in self.segments)
            return f"{self.scheme}://{self.authority}/{path}{self.query}"
        return f"{self.scheme}://{self.authority}/{'/'.join(self.segments)}"


def address_of(uri: str) -> Address | None:
    """Take an address apart; None for one that is relative, of a scheme not read here, or not to be trusted."""
    parts = _ADDRESS.match(uri)
    if parts is None or _UNSAFE.search(uri):
        return None
    scheme, query = parts["scheme"].lower(), parts["query"]
    web = scheme in _PORTS
    if scheme not in SCHEMES or (not web and parts.end() != len(uri)) or (query and not web):
        return None
    authority, segments = _authority(scheme, parts["authority"]), _segments(scheme, parts["path"])
    if authority is None or segments is None:
        return None
    return Address(scheme, authority, segments, quote(query, safe="?!$&'()*+,;=:@/%~"))


def _segments(scheme: str, path: str) -> tuple[str, ...] | None:
    raw = path.removeprefix("/").split("/")
    if any(map(_is_devious, raw)):
        return None
    try:
        return tuple(raw if scheme == "s3" else (unquote(segment, errors="strict") for segment in raw))
    except UnicodeDecodeError:
        return None


def _authority(scheme: str, given: str) -> str | None:
    if scheme == "file":
        return "" if given in {"", "localhost"} else None
    if scheme == "s3":
        return given if _BUCKET.fullmatch(given) else None
    host, colon, port = given.lower().rpartition(":") if re.search(r":\d*$", given) else (given.lower(), "", "")
    if not _HOST.fullmatch(host) or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        return None
    return host if not port or int(port) == _PORTS[scheme] else f"{host}:{int(port)}"


def _is_devious(segment: str) -> bool:
    """True for a segment that is a dot segment or hides a separator, however often it was encoded."""
    seen = segment
    for _ in range(_DECODINGS):
        if seen in {".", ".."} or re.search(r"[/\\\x00-\x1f\x7f]", seen):
            return True
        decoded = unquote(seen)
        if decoded == seen:
            return False
        seen = decoded
    return True


class AllowList:
    """Prefixes of addresses that may be read, such as `https://cdn.example.com/products/`, `s3://bucket`, `file:///data`.

    A prefix covers whole segments: `…/img` covers `…/img/1.jpg` and not `…/img-private/1.jpg`. `http` has to be written
    out, `https` does not cover it. Raises SettingsError naming every prefix that cannot be one.
    """

    def __init__(self, prefixes: Sequence[str], base: Path | None = None) -> None:
        """`base` is a folder that relative addresses are read from, and that nothing relative leads out of."""
        found = {prefix: _prefix(prefix) for prefix in prefixes}
        if faults := [prefix for prefix, address in found.items() if address is None]:
            raise SettingsError(
                f"images.allow: {', '.join(map(repr, faults))}: a prefix is file:///folder, https://host/path, "
                "http://host/path or s3://bucket/path, without user, query, `..` or wildcards"
            )
        self._prefixes = [address for address in found.values() if address is not None]
        self._base = base.resolve() if base is not None else None
        self._roots = [Path("/", *address.segments).resolve() for address in self._prefixes if address.scheme == "file"]

    @property
    def schemes(self) -> set[str]:
        """Schemes that some prefix has."""
        return {address.scheme for address in self._prefixes}

    def admit(self, uri: str) -> Address | None:
        """The address to read, or None when no prefix covers it. A file's is where its symbolic links lead."""
        if self._base is not None and "://" not in uri:
            return _file(self._base / uri, [self._base]) if "\0" not in uri else None
        address = address_of(uri)
        if address is None:
            return None
        if address.scheme == "file":
            return _file(Path("/", *address.segments), self._roots)
        return address if any(_covers(prefix, address) for prefix in self._prefixes) else None


def _prefix(text: str) -> Address | None:
    address = address_of(text)
    if address is None or address.query or "#" in text:
        return None
    segments = address.segments[:-1] if address.segments[-1] == "" else address.segments
    return Address(address.scheme, address.authority, segments)


def _covers(prefix: Address, address: Address) -> bool:
    same = (prefix.scheme, prefix.authority) == (address.scheme, address.authority)
    return same and address.segments[: len(prefix.segments)] == prefix.segments


def _file(path: Path, roots: Sequence[Path]) -> Address | None:
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return None
    if not any(real.is_relative_to(root) for root in roots):
        return None
    return Address("file", "", real.parts[1:])
