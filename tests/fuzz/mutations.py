"""Valid bytes → bytes that are nearly valid: the faults of broken producers, networks and enemies, drawn from a seed."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

_TOKENS = (
    *(b"null", b"true", b"{}", b"[]", b'""', b"-0.0", b"1e400", b"-1e400", b"NaN", b"Infinity", b"0x7f", b"9" * 40),
    *(b'"\\ud800"', b'"\\u0000"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"[" * 600, b'{"a":' * 300, b"-9223372036854775809", b"18446744073709551616", b"\r\n", b"\\", b'"', b",", b":", b"}"),
    *(b"\xc1", b"\xc7\xff\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd9\x05"),
    *(b"!!python/object/apply:os.system [x]", b"&a [*a]", b"<<: *a", b"? ", b"\t- ", b"0001-13-45", b"!!timestamp 9"),
)  # fmt: skip
_ODD: Sequence[Any] = (
    *(None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 1e308, -1e308, 5e-324, -0.0),
    *("", " ", "\0", "a" * 3000, "\u202e", "\ud7ff", "0", "nan", "inf", "1e999", "\uff19", "1970-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59.999999+14:00", "0001-01-01T00:00:00-14:00", "2025-02-30T00:00:00Z", "%00", "../../x", "🏴‍☠️"),
    *([], {}, [[]], [None] * 20, {"": ""}, [0.5] * 9, ["2025-01-06T09:00:00+00:00"] * 50),
)  # fmt: skip
_JSON_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|true|false|null')


def mutated(chance: random.Random, seeds: Sequence[bytes], kind: str) -> bytes:
    """One of the seeds with one to four faults. `kind` is what they are: json, msgpack, or bytes of no structure."""
    value = chance.choice(seeds)
    if kind == "msgpack" and chance.random() < 0.4:
        return _restructured(chance, value)
    if kind == "json" and chance.random() < 0.3:
        value = _replaced(chance, value)
        if chance.random() < 0.7:
            return value
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        value = chance.choice(_FAULTS)(chance, value, seeds)
    return value


def odd(chance: random.Random) -> Any:
    """A value that nobody expects."""
    return chance.choice(_ODD)


def _flip(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    if not value:
        return b"\x00"
    changed = bytearray(value)
    for _n in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    start = chance.randrange(len(value) + 1)
    new = chance.randbytes(chance.choice((1, 2, 4, 16)))
    return value[:start] + new + value[start + len(new) :]


def _insert(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(value) + 1)
    return value[:at] + chance.choice(_TOKENS) + value[at:]


def _cut(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    start = chance.randrange(len(value) + 1)
    return value[:start] + value[start + chance.choice((1, 2, 8, 64, len(value))) :]


def _repeat(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    start = chance.randrange(len(value) + 1)
    part = value[start : start + chance.choice((1, 4, 32))]
    return value[:start] + part * chance.choice((2, 3, 100)) + value[start:]


def _splice(chance: random.Random, value: bytes, seeds: Sequence[bytes]) -> bytes:
    other = chance.choice(seeds)
    return value[: chance.randrange(len(value) + 1)] + other[chance.randrange(len(other) + 1) :]


def _noise(chance: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return chance.randbytes(chance.randrange(min(len(value), 200) + 1))


_FAULTS: Sequence[Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = (
    *(_flip, _flip, _overwrite, _overwrite, _insert, _insert, _cut, _cut, _repeat, _splice, _noise),
)


def _replaced(chance: random.Random, value: bytes) -> bytes:
    """JSON with a key or a value, somewhere, replaced by an odd one."""
    found = list(_JSON_VALUE.finditer(value))
    if not found:
        return value
    place = chance.choice(found)
    return value[: place.start()] + json.dumps(odd(chance)).encode() + value[place.end() :]


def _restructured(chance: random.Random, value: bytes) -> bytes:
    """A MessagePack map with entries replaced, dropped and added."""
    try:
        content = msgpack.unpackb(value, strict_map_key=False)
        if not isinstance(content, dict) or not content:
            return bytes(msgpack.packb(odd(chance)))
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice(list(content))
            action = chance.randrange(4)
            if action == 0:
                del content[name]
                if len(content) == 0:
                    break
            elif action == 1 and isinstance(content[name], list) and content[name]:
                content[name][chance.randrange(len(content[name]))] = odd(chance)
            else:
                content[name] = odd(chance)
        return bytes(msgpack.packb(content))
    except (ValueError, TypeError, OverflowError):
        return value[1:]
