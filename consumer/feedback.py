"""What people say of pairs, read: bytes of the feedback topic → Verdict, or RejectedError with the reason.

The TypedDict below is the contract: it is what validates a message, and `consumer.schemas` makes the JSON Schema of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NotRequired
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on only

from consumer.decode import DEFAULT_SCOPE, LAST_MS, MAX_ID_CHARS, SCOPE, parse_object
from consumer.errors import RejectedError, SettingsError
from consumer.lines import lines_of
from consumer.profile import Profile
from consumer.records import Message, Position, Saying, Verdict

MAX_BY_CHARS = 128
FAULTS_SHOWN = 20
"""Of a file: who sees this many knows what is wrong with the rest."""
_PROFILE = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
_EPOCH = datetime.fromtimestamp(0, UTC)

RecordId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class FeedbackMessage(TypedDict):
    """What a person says of two records. Of the words on one pair the last to arrive counts."""

    a: Annotated[RecordId, Field(description="Record id.")]
    b: Annotated[RecordId, Field(description="The other record id; which of the two comes first does not matter.")]
    verdict: Annotated[
        Saying,
        Field(description="`undecided` takes an earlier word back: the evidence decides again."),
    ]
    by: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_BY_CHARS,
            pattern=r"\S",
            description="Who says so. It is kept, and shown in events: a name or a role that may be seen there.",
        ),
    ]
    profile: Annotated[
        str, Field(pattern=_PROFILE, description="The profile meant; a service of another one passes the message over.")
    ]
    scope: NotRequired[
        Annotated[
            str | None,
            Field(
                pattern=f"^{SCOPE.pattern}$",
                description="The scope of both records. It must be there where the profile has scopes.",
            ),
        ]
    ]
    at: NotRequired[
        Annotated[
            str | None,
            Field(
                pattern=_TIME,
                json_schema_extra={"format": "date-time"},
                description="When it was said, RFC 3339; without it, or when it is later than the message's timestamp, "
                "that. It decides between words on different pairs that contradict each other.",
            ),
        ]
    ]


_CONTRACT: TypeAdapter[FeedbackMessage] = TypeAdapter(FeedbackMessage)


def decode_feedback(message: Message, profile: Profile) -> Verdict | None:
    """One message of the feedback topic; None when it is meant for another profile. Raises RejectedError."""
    if message.value is None:
        raise RejectedError("a null value says nothing; the verdict `undecided` takes a word back")
    content = parse_object(message.value)
    if _is_for_another(content, profile):
        return None
    return _verdict(statement(content, profile), message.position, min(max(message.timestamp_ms, 0), LAST_MS))


def statement(content: Mapping[str, object], profile: Profile) -> FeedbackMessage:
    """The content as the contract has it, `a` < `b`, and with a scope.

    Unknown keys are left out. Raises RejectedError; its message holds no value.
    """
    try:
        said = _CONTRACT.validate_python(content)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False))
        raise RejectedError("; ".join(faults)) from None
    if said["profile"] != profile.name:
        raise RejectedError(f"profile: not {profile.name}")
    if said["a"] == said["b"]:
        raise RejectedError("a and b are the same record")
    if said.get("at") is not None:
        _milliseconds(said["at"] or "")
    said["a"], said["b"] = sorted((said["a"], said["b"]))
    said["by"] = said["by"].strip()
    if not said["by"]:  # separators that only Python takes for white space; a word without a name is the end of one
        raise RejectedError("by: no name")
    said["scope"] = _scope(said.get("scope"), profile)
    return said


def message_key(said: FeedbackMessage) -> bytes:
    """The key a message should have, so that the words on one pair keep their order: the one of `possible-duplicates`."""
    return f"{quote(said['a'])}|{quote(said['b'])}".encode()


def read_statements(path: Path, profile: Profile) -> Sequence[FeedbackMessage]:
    """The messages in a JSONL file, such as a dump of the topic's values; those for other profiles are left out.

    Raises SettingsError naming the lines that are not as they should be.
    """
    return [said for said in _statements(path, profile) if said is not None]


def read_verdicts(path: Path, profile: Profile) -> Sequence[Verdict]:
    """The same, as verdicts, in the order of the lines. One without a time gets that of the file. Raises SettingsError."""
    modified_ms = int(path.stat().st_mtime * 1000) if path.exists() else 0
    return [
        _verdict(said, Position(path.name, 0, number), modified_ms)
        for number, said in enumerate(_statements(path, profile), start=1)
        if said is not None
    ]


def standing(verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
    """The last word on each pair in each scope, in the order they were said, without what was taken back."""
    last: dict[tuple[str, str, str], Verdict] = {}
    for verdict in verdicts:
        pair = verdict.scope, verdict.a, verdict.b
        last.pop(pair, None)
        last[pair] = verdict
    return [verdict for verdict in last.values() if verdict.says != "undecided"]


def faulty(path: Path, faults: Sequence[str]) -> SettingsError:
    """The error for a file of words: its faults, one a line."""
    shown = list(faults[:FAULTS_SHOWN])
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"and {len(faults) - FAULTS_SHOWN} more")
    return SettingsError("\n  ".join([f"{path}:", *shown]))


def _statements(path: Path, profile: Profile) -> Sequence[FeedbackMessage | None]:
    """One per line; None for an empty one and one that is meant for another profile."""
    found: list[FeedbackMessage | None] = []
    faults: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        found.append(None)
        if not line.strip():
            continue
        try:
            content = parse_object(line)
            if not _is_for_another(content, profile):
                found[-1] = statement(content, profile)
        except RejectedError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise faulty(path, faults)
    return found


def _is_for_another(content: Mapping[str, object], profile: Profile) -> bool:
    name = content.get("profile")
    return isinstance(name, str) and name != profile.name and re.fullmatch(_PROFILE, name) is not None


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from lines_of(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _verdict(said: FeedbackMessage, source: Position, timestamp_ms: int) -> Verdict:
    at = said.get("at")
    return Verdict(
        a=said["a"],
        b=said["b"],
        says=said["verdict"],
        by=said["by"],
        # a clock that is ahead must not win over every word to come
        said_ms=timestamp_ms if at is None else min(_milliseconds(at), timestamp_ms),
        scope=said["scope"] or DEFAULT_SCOPE,
        source=source,
        ingested_ms=timestamp_ms,
    )


def _scope(given: str | None, profile: Profile) -> str:
    if profile.scope is None:
        if given not in (None, DEFAULT_SCOPE):
            raise RejectedError(f"scope: the profile {profile.name} has one scope, {DEFAULT_SCOPE}")
        return DEFAULT_SCOPE
    if given is None:
        raise RejectedError(f"scope: missing; the profile {profile.name} has many, say which has the two records")
    return given


def _milliseconds(at: str) -> int:
    try:
        since = datetime.fromisoformat(at.upper()) - _EPOCH
    except (ValueError, OverflowError):
        raise RejectedError("at: there is no such time") from None
    # in whole numbers: a float is a millisecond off here and there
    number = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    if not 0 <= number <= LAST_MS:
        raise RejectedError("at: a time from 1970 to 9999 is wanted")
    return number
