"""Pictures named by an address: read through fsspec, from allowed places only, within limits of size and time.

What goes wrong is a value, not an error: a picture that is not there keeps no record from being matched on the rest.
"""

import importlib.util
import ssl
import stat
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import fsspec
import structlog
from fsspec.asyn import sync
from yarl import URL

from consumer.adapters.allow_list import Address, AllowList
from consumer.errors import SettingsError

Miss = Literal["refused", "not_found", "too_large", "unreachable"]
"""Why there is no picture. `refused`: no prefix of the allow-list covers the address, or the server sends elsewhere."""

_log = structlog.get_logger()

_CHUNK_BYTES: Final = 64 * 1024
_PAUSE_SECONDS: Final = 0.2
_BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one picture may cost."""

    max_bytes: int
    timeout_seconds: float
    """For one attempt, all of it."""
    attempts: int
    """Tries of an address whose server does not answer or is busy."""


class ImageStore:
    """Reads allowed addresses. Safe to share between threads; connections are made at the first read.

    Redirects are not followed: they lead where nobody allowed it. Answers are not unpacked, so compression cannot hide
    their size. S3 is reached with what the AWS variables say (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3`, a role).
    Raises SettingsError when a prefix is none, `ca_file` holds no certificates, or s3 is allowed without the extra.
    """

    def __init__(self, allowed: AllowList, limits: FetchLimits, ca_file: Path | None = None) -> None:
        """`ca_file` replaces the system's certificates for https."""
        if "s3" in allowed.schemes and importlib.util.find_spec("s3fs") is None:
            raise SettingsError("images.allow names s3, which needs the extra `s3` (pip install '.[s3]' in a checkout)")
        try:
            self._certificates = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"images.ca_file {ca_file}: cannot be read as PEM certificates ({error})") from error
        self._allowed = allowed
        self._limits = limits
        self._reported: set[str] = set()
        web, bucket = allowed.schemes & {"http", "https"}, "s3" in allowed.schemes
        self._web: Any = fsspec.filesystem("http", get_client=_client, skip_instance_cache=True) if web else None
        waits = {"connect_timeout": limits.timeout_seconds, "read_timeout": limits.timeout_seconds}
        self._bucket: Any = fsspec.filesystem("s3", config_kwargs=waits, skip_instance_cache=True) if bucket else None

    def read(self, uri: str, until: float) -> bytes | Miss:
        """The bytes at an address. `until` on the monotonic clock no attempt is begun any more, and a begun one ends."""
        address = self._allowed.admit(uri)
        if address is None:
            return "refused"
        if address.scheme == "file":
            return self._file(Path("/", *address.segments))
        fetch = self._s3 if address.scheme == "s3" else self._http
        answer: bytes | Miss = "unreachable"
        for attempt in range(self._limits.attempts):
            left = min(self._limits.timeout_seconds, until - time.monotonic() - _PAUSE_SECONDS * attempt)
            if left <= 0:
                break
            time.sleep(_PAUSE_SECONDS * attempt)
            answer = fetch(address, left)
            if answer != "unreachable":
                break
        return answer

    def _file(self, path: Path) -> bytes | Miss:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device has no end
                return "not_found"
            with fsspec.filesystem("file").open(str(path), "rb") as file:
                return self._within(file.read(self._limits.max_bytes + 1))
        except FileNotFoundError:
            return "not_found"
        except OSError as error:
            return "not_found" if isinstance(error, NotADirectoryError | PermissionError) else "unreachable"

    def _http(self, address: Address, seconds: float) -> bytes | Miss:
        return self._waited(self._web, lambda: self._download(address), seconds)

    async def _download(self, address: Address) -> bytes | Miss:
        session = await self._web.set_session()
        url = URL(address.url, encoded=True)
        async with session.get(url, allow_redirects=False, ssl=self._certificates) as response:
            if response.status != HTTPStatus.OK:
                return _miss(response.status)
            content = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                content += chunk
                if len(content) > self._limits.max_bytes:
                    return "too_large"
            return bytes(content)

    def _s3(self, address: Address, seconds: float) -> bytes | Miss:
        return self._waited(self._bucket, lambda: self._object(address), seconds)

    async def _object(self, address: Address) -> bytes | Miss:
        # A range of bytes, so that a large object is not sent; neither is one byte too many kept.
        content: bytes = await self._bucket._cat_file(address.url, start=0, end=self._limits.max_bytes + 1)  # noqa: SLF001  # fsspec's coroutines are named so
        return self._within(content)

    def _within(self, content: bytes) -> bytes | Miss:
        return content if len(content) <= self._limits.max_bytes else "too_large"

    def _waited(
        self, filesystem: Any, fetch: Callable[[], Coroutine[None, None, bytes | Miss]], seconds: float
    ) -> bytes | Miss:
        try:
            answer: bytes | Miss = sync(filesystem.loop, fetch, timeout=seconds)
        except (FileNotFoundError, PermissionError):
            return "not_found"
        except Exception as error:  # noqa: BLE001  # no picture stops the stream, whatever the libraries make of its server
            kind = type(error).__name__
            if kind not in self._reported:
                self._reported.add(kind)
                _log.warning("a picture could not be fetched; said once per kind of error", error=kind)
            return "unreachable"
        return answer


def _miss(status: int) -> Miss:
    if 300 <= status < 400:  # a redirect
        return "refused"
    return "unreachable" if status >= 500 or status in _BUSY else "not_found"


async def _client(**options: Any) -> aiohttp.ClientSession:
    """A session that keeps no cookies, asks for plain bytes and takes them as they come."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        **options,
    )
