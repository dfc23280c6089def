"""`dedup feedback`: put what a person says of pairs on the feedback topic, as anyone may."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from consumer.adapters import kafka_publisher
from consumer.errors import RejectedError, SettingsError
from consumer.feedback import FeedbackMessage, faulty, message_key, statement
from consumer.profile import Profile, load_profile
from consumer.records import Outgoing
from consumer.settings import Settings
from consumer.wiring import require_brokers

_COLUMNS = ("a", "b", "verdict")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A review sheet, read."""

    said: Sequence[FeedbackMessage]
    unanswered: int
    """Rows whose verdict is still empty."""


def word(profile: Profile, content: Mapping[str, object]) -> FeedbackMessage:
    """One word on a pair, said now. `content` has `a`, `b`, `verdict`, `by`, and `scope`. Raises SettingsError."""
    try:
        return _said(profile, content, _now())
    except RejectedError as error:
        raise SettingsError(f"feedback: {error}") from None


def read_sheet(path: Path, profile: Profile, by: str | None, scope: str | None) -> Sheet:
    """The rows of a CSV file with the columns a, b, verdict and, if there, by and scope; other columns are ignored.

    `by` and `scope` hold for rows that have none. Raises SettingsError that lists every fault with its line; two rows that
    contradict each other are one.
    """
    at = _now()
    said: dict[tuple[str | None, bytes], tuple[int, FeedbackMessage]] = {}
    faults: list[str] = []
    unanswered = 0
    for line, row in _rows(path):
        if not row["verdict"]:
            unanswered += 1
            continue
        filled = {**row, "by": row.get("by") or by, "scope": row.get("scope") or scope}
        try:
            new = _said(profile, filled, at)
        except RejectedError as error:
            faults.append(f"line {line}: {error}")
            continue
        pair = new.get("scope"), message_key(new)
        first, earlier = said.setdefault(pair, (line, new))
        if earlier["verdict"] != new["verdict"]:
            faults.append(
                f"line {line}: says `{new['verdict']}` of the pair that line {first} calls `{earlier['verdict']}`"
            )
    if faults:
        raise faulty(path, faults)
    return Sheet([new for _, new in said.values()], unanswered)


def send(settings: Settings, said: Sequence[FeedbackMessage]) -> str:
    """Produce the messages, wait until the broker has them, and return the topic. Raises DedupError.

    When it raises, a part of them may be there; sending all of them again does no harm.
    """
    require_brokers(settings)
    topic = settings.topics.feedback
    messages = [Outgoing(topic, message_key(one), orjson.dumps(one)) for one in said]
    kafka_publisher.send(settings.kafka.producer_properties, messages)
    return topic


def say(settings: Settings, content: Mapping[str, object]) -> tuple[FeedbackMessage, str]:
    """One word, sent; what was sent and the topic. Raises DedupError."""
    said = word(load_profile(settings.profile), content)
    return said, send(settings, [said])


def hand_in(settings: Settings, path: Path, by: str | None, scope: str | None) -> tuple[Sheet, str]:
    """A review sheet, sent whole or not at all; what was sent and the topic. Raises DedupError."""
    sheet = read_sheet(path, load_profile(settings.profile), by, scope)
    return sheet, send(settings, sheet.said)


def _said(profile: Profile, content: Mapping[str, object], at: str) -> FeedbackMessage:
    given = {name: value for name, value in content.items() if value is not None}
    return statement({**given, "profile": profile.name, "at": at}, profile)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and cells of each row, without the blanks around them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise SettingsError(f"{path}: the first line must name the columns; missing: {', '.join(missing)}")
            for row in reader:
                yield reader.line_num, {name: cell.strip() for name, cell in row.items() if isinstance(cell, str)}
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8; save the sheet as CSV in UTF-8") from None
    except csv.Error as error:
        raise SettingsError(f"{path}: not CSV: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
