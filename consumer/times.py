"""Times as records write them: ISO 8601, with or without an offset."""

from datetime import UTC, datetime


def parse_time(text: str) -> datetime | None:
    """The time a text is; None when it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def milliseconds(text: str) -> int | None:
    """Since 1970; a time without an offset counts as UTC. None for what is no time, or cannot be counted from there."""
    time = parse_time(text)
    if time is None:
        return None
    try:
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except OverflowError:
        return None
