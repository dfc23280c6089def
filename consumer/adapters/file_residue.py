"""Files, of a folder or under any fsspec URL, looked through for some bytes."""

from collections.abc import Iterator, Sequence
from typing import Final

import fsspec

from consumer.errors import SettingsError

_CHUNK_BYTES: Final = 8 * 1024 * 1024


def files_with(place: str, needles: Sequence[bytes]) -> Iterator[tuple[str, bool]]:
    """Every file under a place, and whether any of the needles is in it. Nothing where the place does not exist.

    A file that goes meanwhile, because a newer one took its place, is left out. Raises SettingsError for a place that cannot
    be read.
    """
    try:
        system, root = fsspec.core.url_to_fs(place)
        system.invalidate_cache()
        for path in sorted(system.find(root)):
            try:
                found = _is_in(system, path, needles)
            except FileNotFoundError:
                continue
            yield path, found
    except FileNotFoundError:
        return
    except (OSError, ValueError, ImportError) as error:
        raise SettingsError(f"{place}: cannot be read: {error}") from error


def _is_in(system: fsspec.AbstractFileSystem, path: str, needles: Sequence[bytes]) -> bool:
    overlap = max((len(needle) for needle in needles), default=1) - 1
    with system.open(path, "rb") as file:
        tail = b""
        while chunk := file.read(_CHUNK_BYTES):
            window = tail + chunk
            if any(needle in window for needle in needles):
                return True
            tail = window[-overlap:] if overlap else b""
    return False
