"""Texts and pictures to fit and to measure on: a user's own, or made up. What is measured on is never fitted on."""

import io
from hashlib import sha256
from pathlib import Path
from random import Random

from PIL import Image

from consumer.adapters.pixels import Preprocessing, UnreadableImageError, pixels
from export import photos
from export.errors import ExportError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_ANY = Preprocessing(8, "squash", "box")


def lines(file: Path, fit: int, check: int) -> tuple[list[str], list[str]]:
    """Up to `fit` and `check` distinct lines of a file, every n-th for the check. Raises ExportError for too few."""
    try:
        read = list(dict.fromkeys(line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"--texts {file}: cannot be read: {error}") from error
    if len(read) < 40:
        raise ExportError(f"--texts {file}: {len(read)} different lines; at least 40 are needed, thousands are better")
    chosen = read[:: max(4, len(read) // check)][:check]
    kept = set(chosen)
    return [text for text in read if text not in kept][:fit], chosen


def pictures(folder: Path, fit: int, check: int, seed: int) -> tuple[list[bytes], list[bytes]]:
    """Up to `fit` and `check` different files of a folder that can be read. Raises ExportError for too few."""
    if not folder.is_dir():
        raise ExportError(f"--photos {folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    Random(seed).shuffle(paths)
    read: dict[bytes, bytes] = {}
    for path in paths:
        content = path.read_bytes()
        if _readable(content):
            read.setdefault(sha256(content).digest(), content)
        if len(read) == fit + check:
            break
    found = list(read.values())
    if len(found) < 24:
        raise ExportError(f"--photos {folder}: {len(found)} different pictures can be read; at least 24 are needed")
    checked = min(check, max(12, len(found) // 5))
    return found[checked:], found[:checked]


def drawn(fit: int, check: int, seed: int) -> tuple[list[bytes], list[bytes]]:
    """JPEG files of pictures that nobody took."""
    chance = Random(seed)
    around = [Image.new("RGB", (photos.SIDE, photos.SIDE), _colour(chance)) for _ in range(4)]
    made = []
    for _ in range(fit + check):
        one = photos.drawn(chance, around)
        around = [*around[-15:], one]
        made.append(_jpeg(one, 90))
    return made[:fit], made[fit:]


def smaller(content: bytes) -> bytes:
    """The same picture at seven tenths of its size and saved again: what a copy on the web looks like."""
    with Image.open(io.BytesIO(content)) as image:
        size = max(1, image.width * 7 // 10), max(1, image.height * 7 // 10)
        return _jpeg(image.convert("RGB").resize(size), 50)


def _readable(content: bytes) -> bool:
    try:
        pixels(content, _ANY)
    except UnreadableImageError:
        return False
    return True


def _colour(chance: Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=quality)
    return content.getvalue()
