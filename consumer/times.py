"""Times as records write them: ISO 8601, with or without an offset."""

from datetime import UTC, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REMEMBERED = 8_192
"""Texts: those of a batch, which decoding, the quality and the encoder of a record read one after the other."""


_LONGEST = 64
"""Characters of a time: any number of decimals is allowed, and what is remembered would take as much memory."""


def moment(text: str) -> tuple[datetime, float] | None:
    """The time a text is, by the clock of who wrote it, and its seconds since 1970; None when it is none.

    A time without an offset counts as UTC.
    """
    return _moment(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=_REMEMBERED)
def _moment(text: str) -> tuple[datetime, float] | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time, ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


def milliseconds(text: str) -> int | None:
    """Since 1970. None for what is no time."""
    found = moment(text)
    return None if found is None else int(found[1] * 1000)
