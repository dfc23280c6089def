"""Bytes → record. Whatever a message holds, the answer is a Record, an Erasure, or RejectedError with the reason."""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping, Sequence

import orjson

from consumer.dates import digits_of
from consumer.errors import RejectedError
from consumer.profile import FieldSpec, Profile
from consumer.records import Erasure, FieldValue, Message, Record
from consumer.times import milliseconds, moment

DEFAULT_SCOPE = "default"
MAX_ID_CHARS = 256
MAX_TEXT_CHARS = 2_000
"""Longer texts are cut here, once, so that no encoder meets 10 MB."""
MAX_TIMESTAMPS = 10_000
MAX_IMAGE_BYTES = 10 * 1024 * 1024
"""Of a picture's file inside a message, once its base64 is undone."""
MAX_URI_CHARS = 2_048
LAST_MS = 253_402_300_799_000
"""The year 9999 ends. Brokers take any number for a timestamp; what lies outside is moved to the nearest time."""
SCOPE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AMOUNT = re.compile(r"(?<![-0-9])[0-9]+(?:[.,'\u2019\u00a0 ][0-9]{3})*(?:[.,][0-9]{1,2})?(?![0-9])")
_CENTS = re.compile(r"^(.*)[.,]([0-9]{1,2})$")
_CURRENCIES = re.compile(r"(?:[^\w\s]|\s|\b[^\W\d_]{1,3}\b)*")
"""What may stand beside an amount: signs, and words of up to three letters (`USD`, `kr`, `Rp`)."""
_MAX_AMOUNT_CHARS = 40
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+(;[a-z0-9=._-]+)*;base64,", re.IGNORECASE)
_MAX_BASE64_CHARS = MAX_IMAGE_BYTES * 4 // 3 + 4
_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n"


def decode(message: Message, profile: Profile) -> Record | Erasure:
    """Validate one input message. Unknown keys are ignored; null and empty values count as missing.

    Only the message is judged: a picture that is not one, or whose address leads nowhere, is the encoder's matter, which
    goes on without it.
    """
    record_id = decode_id(message.key)
    timestamp_ms = min(max(message.timestamp_ms, 0), LAST_MS)
    if message.value is None:
        return Erasure(record_id, message.position, timestamp_ms)
    content = parse_object(message.value)
    if content.get("id") not in (None, record_id):
        raise RejectedError("the value's id differs from the message key")
    fields = {}
    for name, spec in profile.fields.items():
        value = read_field(name, spec, content.get(name))
        if value is not None:
            fields[name] = value
    return Record(
        id=record_id,
        scope=_scope(profile, fields),
        fields=fields,
        born_ms=_born_ms(profile, fields, timestamp_ms),
        source=message.position,
        ingested_ms=timestamp_ms,
    )


def decode_id(key: bytes | None) -> str:
    """The record id a message key holds. Raises RejectedError."""
    if not key:
        raise RejectedError("the message has no key; the key must be the record id (in a file: the text under `id`)")
    try:
        record_id = key.decode()
    except UnicodeDecodeError:
        raise RejectedError("the message key is not UTF-8") from None
    if len(record_id) > MAX_ID_CHARS:
        raise RejectedError(f"the message key is longer than {MAX_ID_CHARS} characters")
    return record_id


def parse_object(value: bytes) -> Mapping[str, object]:
    """The JSON object that bytes are. Raises RejectedError."""
    try:
        content = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(content, dict):
        raise RejectedError(f"a JSON object is wanted, this is {_kind(content)}")
    return content


def read_field(name: str, spec: FieldSpec, value: object) -> FieldValue | None:
    """A value of a JSON object as encoders take it; None where it is missing or empty. Raises RejectedError."""
    if value is None:
        return None
    if spec.type == "date":
        text = _read_text(name, value)
        return digits_of(text, day_first=spec.day_first) if text else None
    return _READERS[spec.type](name, value)


def _read_text(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RejectedError(f"{name}: text is wanted, this is {_kind(value)}")
        value = str(value)
    return value[:MAX_TEXT_CHARS].strip() or None


def _read_number(name: str, value: object) -> float | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        value = _number_in(value)
        if value is None:
            return None  # "call for price" is how shops write that they do not say
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError(f"{name}: a number is wanted, this is {_kind(value)}")
    return float(value) if math.isfinite(value) else None


def _number_in(text: str) -> float | None:
    """The number a text is, or the only one beside currencies: `1,299.00`, `€ 1.299,-`, `USD 12`; None for other text."""
    try:
        return float(text)
    except ValueError:
        numbers = _AMOUNT.findall(text[:_MAX_AMOUNT_CHARS])
    rest = _AMOUNT.sub(" ", text)
    if len(numbers) != 1 or len(text) > _MAX_AMOUNT_CHARS or not _CURRENCIES.fullmatch(rest):
        return None
    whole, _, cents = _CENTS.sub(r"\1|\2", numbers[0]).partition("|")
    return float(f"{re.sub('[^0-9]', '', whole)}.{cents or 0}")


def _read_timestamps(name: str, value: object) -> Sequence[str] | None:
    times = ([value] if value.strip() else []) if isinstance(value, str) else value
    if not isinstance(times, list):
        raise RejectedError(f"{name}: a list of ISO 8601 times is wanted, this is {_kind(value)}")
    times = times[-MAX_TIMESTAMPS:]
    for i, time in enumerate(times):
        if not isinstance(time, str) or moment(time) is None:
            raise RejectedError(f"{name}[{i}]: not an ISO 8601 time")
    return times or None


def _read_image(name: str, value: object) -> bytes | None:
    """The bytes of a file in base64, standard or URL-safe, with or without padding, line breaks and a data URI around."""
    if not isinstance(value, str):
        raise RejectedError(f"{name}: base64 text is wanted, this is {_kind(value)}")
    prefix = _DATA_URI.match(value, 0, 200)
    try:
        text = (value[prefix.end() :] if prefix else value).encode("ascii")
        # As bytes, where both steps take a hundredth of the time they take on text.
        text = text.translate(_STANDARD, _WHITESPACE).rstrip(b"=")
        if len(text) > _MAX_BASE64_CHARS:
            raise RejectedError(f"{name}: more than {MAX_IMAGE_BYTES // 1024**2} MiB")
        content = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise RejectedError(f"{name}: not base64") from None
    return content or None


def _read_uri(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        raise RejectedError(f"{name}: an address is wanted, this is {_kind(value)}")
    if len(value) > MAX_URI_CHARS:
        raise RejectedError(f"{name}: longer than {MAX_URI_CHARS:,} characters")
    return value.strip() or None


_READERS: Mapping[str, Callable[[str, object], FieldValue | None]] = {
    "text": _read_text,
    "number": _read_number,
    "timestamps": _read_timestamps,
    "image": _read_image,
    "uri": _read_uri,
}


def _scope(profile: Profile, fields: Mapping[str, FieldValue]) -> str:
    if profile.scope is None:
        return DEFAULT_SCOPE
    value = fields.get(profile.scope)
    if not isinstance(value, str):
        raise RejectedError(f"{profile.scope}: missing, and it names the record's scope")
    if not SCOPE.fullmatch(value):
        raise RejectedError(f"{profile.scope}: a scope is 1 to 64 letters, digits, dots, dashes or underscores")
    return value


def _born_ms(profile: Profile, fields: Mapping[str, FieldValue], timestamp_ms: int) -> int:
    times = fields.get(profile.born) if profile.born else None
    if not isinstance(times, Sequence) or isinstance(times, str | bytes):
        return timestamp_ms
    born_ms = milliseconds(times[0])
    # 9999-12-31 23:59:59.999 is what databases write for "without end"
    return timestamp_ms if born_ms is None else min(born_ms, LAST_MS)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")
