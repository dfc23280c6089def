"""Pictures made on the spot, seeded: photographs that are none, and every kind of file that means harm."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


def photo(seed: int, width: int = 96, height: int = 96) -> Image.Image:
    """Soft coloured shapes, as a photograph has: no two seeds are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of a file of that format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def animated(kind: str, seeds: tuple[int, ...] = (1, 2, 3)) -> bytes:
    first, *others = (photo(seed, 32, 32) for seed in seeds)
    return encoded(first, kind, save_all=True, append_images=others, duration=40, loop=0)


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header promises 8-bit RGB of that size; `rows` is what its data unpacks to."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb() -> bytes:
    """A megabyte of black rows whose header says 20,000 by 20,000."""
    return png(20_000, 20_000, bytes(2_000_000))


def gif_bomb() -> bytes:
    """A small GIF that claims the largest screen there is."""
    small = bytearray(encoded(photo(1, 16, 16), "GIF"))
    small[6:10] = struct.pack("<HH", 65_535, 65_535)
    return bytes(small)


def hostile() -> Mapping[str, tuple[bytes, str]]:
    """Name → file, and the outcome it is counted as."""
    jpeg = encoded(photo(7))
    return {
        "bomb.png": (bomb(), "unreadable_pixels"),
        "bomb.gif": (gif_bomb(), "unreadable_pixels"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "unreadable_data"),
        "truncated.png": (encoded(photo(7), "PNG")[:-200], "unreadable_data"),
        "vector.svg": (
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            "unreadable_format",
        ),
        "page.html": (b"<!doctype html><title>Not found</title>", "unreadable_format"),
        "archive.zip": (b"PK\x03\x04" + bytes(200), "unreadable_format"),
        "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unreadable_format"),
        "nothing.jpg": (b"\x00", "unreadable_format"),
        "cmyk.jpg": (encoded(photo(8).convert("CMYK")), "read"),
        "animated.gif": (animated("GIF"), "read"),
        "animated.webp": (animated("WEBP"), "read"),
        "dot.png": (encoded(Image.new("RGB", (1, 1), "red"), "PNG"), "read"),
        "thread.png": (encoded(Image.new("RGB", (1, 9_000), "red"), "PNG"), "read"),
        "deep.png": (encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"), "read"),
        "transparent.png": (encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG"), "read"),
    }
