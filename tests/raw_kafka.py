"""Messages as no client of Python writes them: the bytes of a produce request (Kafka protocol, Produce 3, record batch 2)."""

import socket
import struct
import time
from collections.abc import Sequence

_CASTAGNOLI = 0x82F63B78
Header = tuple[bytes, bytes]


def produce(server: str, topic: str, key: bytes, value: bytes, headers: Sequence[Header]) -> None:
    """Write one message to partition 0. Raises AssertionError where the broker, `host:port`, refuses it."""
    batch = _batch(key, value, headers)
    head = struct.pack(">hhih1s", 0, 3, 1, 1, b"t")
    name = struct.pack(">h", len(topic)) + topic.encode()
    body = struct.pack(">hhii", -1, 1, 10_000, 1) + name + struct.pack(">iii", 1, 0, len(batch)) + batch
    host, port = server.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as link, link.makefile("rb") as answers:
        link.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    (code,) = struct.unpack_from(">h", answer, 4 + 4 + len(name) + 4 + 4)
    assert code == 0, code


def _batch(key: bytes, value: bytes, headers: Sequence[Header]) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    content = b"".join(_sized(part) for header in headers for part in header)
    record = b"\0" + _varint(0) + _varint(0) + _sized(key) + _sized(value) + _varint(len(headers)) + content
    summed = struct.pack(">hiqqqhii", 0, 0, now_ms, now_ms, -1, -1, -1, 1) + _sized(record)
    rest = struct.pack(">ibI", -1, 2, _crc32c(summed)) + summed
    return struct.pack(">qi", 0, len(rest)) + rest


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Of a number from 0 on; zigzag."""
    left, found = 2 * number, b""
    while left > 0x7F:
        found += bytes([left & 0x7F | 0x80])
        left >>= 7
    return found + bytes([left])


def _crc32c(content: bytes) -> int:
    sum_ = 0xFFFFFFFF
    for byte in content:
        sum_ ^= byte
        for _ in range(8):
            sum_ = sum_ >> 1 ^ (_CASTAGNOLI if sum_ & 1 else 0)
    return sum_ ^ 0xFFFFFFFF
