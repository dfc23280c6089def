"""What is fuzzed: each target turns bytes into `None` (read) or the reason for which they were refused.

Every seed is full of `MARK`, so a reason that quotes the input shows. Whatever else a target raises is a defect.
"""

import base64
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from consumer.adapters.pixels import Preprocessing, UnreadableImageError, pixels
from consumer.decode import decode
from consumer.errors import RejectedError, SettingsError
from consumer.feedback import decode_feedback
from consumer.profile import Profile, load_profile
from consumer.records import Erasure, Message, Position, Verdict
from consumer.settings import load_settings
from consumer.vectors import pack_erasure, pack_vector, pack_verdict, unpack
from tests.factories import NOW_MS, offer_profile, person_profile, vector
from tests.fuzz.mutations import mutated
from tests.pictures import animated, encoded, photo

MARK = "Zqmarked"
DIM = 8
_TIMESTAMPS = (NOW_MS, 0, -1, 2**63 - 1, -(2**63), 253_402_300_800_000)
_SQUASHED = Preprocessing(16, "squash", "bilinear", unframe=True)
_CROPPED = Preprocessing(16, "crop", "bicubic", 18)


@dataclass(frozen=True, slots=True)
class Target:
    """`share` of the inputs go to it."""

    share: float
    draw: Callable[[random.Random], Message]
    read: Callable[[Message], str | None]


def message(key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Mapping[str, bytes]) -> Message:
    return Message(Position("fuzzed", 0, 0), key, value, timestamp_ms, headers)


def targets(folder: Path) -> dict[str, Target]:
    """All of them. Settings and profiles are read from files in `folder`."""
    return {
        "records": Target(0.42, Draw(_record_seeds(), "json"), _records()),
        "feedback": Target(0.2, Draw(_feedback_seeds(), "json"), _feedback()),
        "vectors": Target(0.3, Draw(_vector_seeds(), "msgpack", _headers()), _vectors),
        "images": Target(0.06, Draw(_image_seeds(), "bytes"), _images),
        "settings": Target(0.01, Draw(_settings_seeds(), "bytes"), _file(folder / "settings.yaml", _load_settings)),
        "profiles": Target(0.01, Draw(_profile_seeds(), "bytes"), _file(folder / "profile.yaml", load_profile)),
    }


class Draw:
    """A message whose value, and now and then key, time and headers, are not as they should be."""

    def __init__(
        self, seeds: Mapping[bytes, bytes | None], kind: str, headers: Mapping[str, bytes] | None = None
    ) -> None:
        self._keys = list(seeds)
        self._values = [value for value in seeds.values() if value is not None]
        self._seeds = seeds
        self._kind = kind
        self._headers = headers or {}

    def __call__(self, chance: random.Random) -> Message:
        key: bytes | None = chance.choice(self._keys)
        assert key is not None
        value, headers = self._seeds[key], self._headers
        broken_key = chance.random() < 0.08
        if value is not None and not (broken_key and chance.random() < 0.5):
            value = mutated(chance, self._values, self._kind)
        elif headers:
            headers = {name: mutated(chance, [*headers.values()], "bytes") for name in headers}
        if broken_key:
            key = mutated(chance, self._keys, "bytes") if chance.random() < 0.9 else None
        return message(key, value, chance.choice(_TIMESTAMPS), headers)


# records


def _record_seeds() -> dict[bytes, bytes | None]:
    times = ["2025-01-06T09:00:00+01:00", "2025-01-08T21:30:00Z"]
    picture = base64.b64encode(encoded(photo(1, 12, 8))).decode()
    contents = {
        f"{MARK}-1": {"id": f"{MARK}-1", "name": f"{MARK} Ada", "city": f"{MARK}burg", "login_times": times, "os": MARK},
        f"{MARK}-2": {"title": f"{MARK} phone", "country": "at", "price": "€ 1.299,00", "seen": times},
        f"{MARK}-3": {"title": MARK, "description": f"{MARK} " * 3, "price": 12.5, "image": picture, "image_url": f"https://{MARK}.example/1.jpg"},
    }  # fmt: skip
    return {key.encode(): orjson.dumps(value) for key, value in contents.items()}


def _records() -> Callable[[Message], str | None]:
    profiles = [person_profile(), offer_profile(), load_profile("listing")]
    turn = 0

    def read(m: Message) -> str | None:
        nonlocal turn
        turn += 1
        return _refusal(lambda: decode(m, profiles[turn % len(profiles)]))

    return read


# feedback


def _feedback_seeds() -> dict[bytes, bytes | None]:
    said = {"a": f"{MARK}-1", "b": f"{MARK}-2", "verdict": "same", "by": f"{MARK} Ann", "profile": "person"}
    more = {**said, "scope": "default", "at": "2025-01-06T09:00:00+01:00", "verdict": "different"}
    scoped = {**more, "profile": "offer", "scope": "at"}
    return {f"word-{n}".encode(): orjson.dumps(value) for n, value in enumerate((said, more, scoped))}


def _feedback() -> Callable[[Message], str | None]:
    profiles = [person_profile(), offer_profile()]
    turn = 0

    def read(m: Message) -> str | None:
        nonlocal turn
        turn += 1
        return _refusal(lambda: decode_feedback(m, profiles[turn % len(profiles)]))

    return read


# vectors


def _headers() -> dict[str, bytes]:
    erasure = pack_erasure(Erasure(MARK, Position("in", 0, 3), NOW_MS), "vectors", 0)
    return dict(erasure.headers)


def _vector_seeds() -> dict[bytes, bytes | None]:
    values = np.linspace(-1, 1, DIM).astype(np.float16)
    source = Position(f"{MARK}-in", 1, 7)
    one = pack_vector(vector(f"{MARK}-1", DIM, values=values, scope=f"{MARK}-scope", source=source), "vectors", 0)
    word = pack_verdict(
        Verdict(f"{MARK}-1", f"{MARK}-2", "same", MARK, NOW_MS, "default", source, NOW_MS), "vectors", 0
    )
    ended = pack_verdict(Verdict(f"{MARK}-1", f"{MARK}-3", "undecided", "", NOW_MS, "default", source, NOW_MS), "v", 0)
    erased = pack_erasure(Erasure(f"{MARK}-4", source, NOW_MS), "vectors", 0)
    return {m.key: m.value for m in (one, word, ended, erased) if m.key is not None}


def _vectors(m: Message) -> str | None:
    return _refusal(lambda: unpack(m, "f00d", DIM))


# pictures


def _image_seeds() -> dict[bytes, bytes | None]:
    small = photo(3, 24, 17)
    files = [encoded(small, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    files += [encoded(small.convert("CMYK")), encoded(small.convert("RGBA"), "PNG"), encoded(small.convert("P"), "PNG")]
    files += [animated("GIF"), animated("WEBP"), encoded(small, progressive=True)]
    exif = small.getexif()
    exif[0x0112], exif[0x010E] = 6, MARK
    files.append(encoded(small, exif=exif))
    return {f"{n}".encode(): file for n, file in enumerate(files)}


def _images(m: Message) -> str | None:
    try:
        for preprocessing in (_SQUASHED, _CROPPED):
            made = pixels(m.value or b"", preprocessing)
            assert made.shape == (16, 16, 3)
            assert made.dtype == np.uint8
    except UnreadableImageError as error:
        return error.reason
    return None


# settings and profiles


def _settings_seeds() -> dict[bytes, bytes | None]:
    text = f"""
profile: signup
kafka: {{bootstrap_servers: "host:9092", properties: {{sasl.password: {MARK}, security.protocol: SASL_SSL}}}}
redis: {{url: "rediss://user:{MARK}@host:6379/0", prefix: dedup, timeout_seconds: 2.5}}
privacy: {{key: {MARK}, rotation_key: {MARK}-{MARK}-{MARK}}}
topics: {{partitions: 12, retention_hours: -1}}
matching: {{quorum: 0.5, erased_days: 7}}
images: {{allow: ["https://cdn.example.com/"], max_bytes: 1000}}
log: {{level: debug, format: json}}
"""
    flat = f"privacy:\n  key: {MARK}\nlimits:\n  batch_records: 10\n  poll_seconds: 0.5\nhttp:\n  port: 0\n"
    return {b"whole": text.encode(), b"short": flat.encode()}


def _load_settings(path: str) -> object:
    return load_settings(Path(path))


def _profile_seeds() -> dict[bytes, bytes | None]:
    person: Profile = person_profile()
    whole = orjson.dumps(person.model_dump(mode="json"))
    folder = Path(__file__).parent.parent / "profiles"
    return {b"yaml": (folder / "person.yaml").read_bytes(), b"json": whole}


def _file(path: Path, load: Callable[[str], object]) -> Callable[[Message], str | None]:
    def read(m: Message) -> str | None:
        path.write_bytes(m.value or b"")
        try:
            load(str(path))
        except SettingsError as error:
            return str(error)
        return None

    return read


def _refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except RejectedError as error:
        return str(error)
    return None
