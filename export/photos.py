"""Photos to train on and to judge by, and pictures that are drawn where photos are few. No torch in here.

A folder of photos holds `truth.csv` (id,cluster_id) and `img/<id>.jpg`, or only JPEG files, which then have no class.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from export.errors import ExportError
from export.transforms import Picture, overlay

SIDE = 192
"""Pixels along each edge of what training transforms: half as much again as the encoder sees."""

_JPEG = {".jpg", ".jpeg"}
_HELD_OUT = 4


@dataclass(frozen=True, slots=True)
class Photo:
    """One JPEG file and what it shows: photos of a class show the same product, but are no copies of each other."""

    content: bytes
    kind: str | None


def read(folder: Path) -> list[Photo]:
    """In the order of `truth.csv`, else of the file names. Raises ExportError when there is nothing to read."""
    truth = folder / "truth.csv"
    try:
        if truth.exists():
            with truth.open(encoding="utf-8-sig", newline="") as file:
                rows = [(row["id"], row["cluster_id"]) for row in csv.DictReader(file)]
            photos = [Photo((folder / "img" / f"{name}.jpg").read_bytes(), kind) for name, kind in rows]
        else:
            files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _JPEG)
            photos = [Photo(path.read_bytes(), None) for path in files]
    except (OSError, KeyError) as error:
        raise ExportError(f"{folder}: cannot be read ({error}); truth.csv names id and cluster_id") from error
    if not photos:
        raise ExportError(f"{folder}: no photos; wanted are truth.csv with img/<id>.jpg, or JPEG files")
    return photos


def split(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Seen and unseen: every fourth class, in the order of its number, is kept from training."""
    kinds = sorted({photo.kind for photo in photos if photo.kind is not None}, key=lambda kind: (len(kind), kind))
    held_out = set(kinds[_HELD_OUT - 1 :: _HELD_OUT])
    return [one for one in photos if one.kind not in held_out], [one for one in photos if one.kind in held_out]


def picture(content: bytes, side: int | None = None) -> Picture:
    """A JPEG file as RGB; with `side`, squashed to a square."""
    with Image.open(io.BytesIO(content)) as image:
        if side is None:
            return image.convert("RGB")
        image.draft("RGB", (side, side))
        return image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)


def drawn(chance: Random, around: Sequence[Picture], side: int = SIDE) -> Picture:
    """A picture that nobody took: a background, then shapes, words, or pieces of the pictures `around`."""
    canvas = chance.choice(_BACKGROUNDS)(chance, around, side)
    for _ in range(chance.randint(0, 4)):
        canvas = chance.choice(_THINGS)(canvas, chance, around)
    return canvas


def derived(chance: Random, source: Picture, around: Sequence[Picture], side: int = SIDE) -> Picture:
    """Another original made of one: a part of it, turned, in other colours, at times with something pasted in."""
    width, height = source.size
    share = chance.uniform(0.5, 1.0)
    left, top = chance.uniform(0, 1 - share) * width, chance.uniform(0, 1 - share) * height
    box = (left, top, left + share * width, top + share * height)
    part = source.resize((side, side), Image.Resampling.BILINEAR, box=box)
    if chance.random() < 0.5:
        part = part.transpose(chance.choice(list(Image.Transpose)))
    if chance.random() < 0.5:
        part = part.point([tone for _ in range(3) for tone in _curve(chance)])
    return _paste(part, chance, around) if chance.random() < 0.3 else part


def _curve(chance: Random) -> list[int]:
    power, gain = chance.uniform(0.7, 1.4), chance.uniform(0.75, 1.25)
    return [min(255, round(255 * gain * (tone / 255) ** power)) for tone in range(256)]


def _gradient(chance: Random, _around: Sequence[Picture], side: int) -> Picture:
    angle = chance.uniform(0, 2 * math.pi)
    down, across = np.mgrid[0:side, 0:side] / side
    ramp = (np.cos(angle) * across + np.sin(angle) * down)[..., None] % 1.0
    first, second = (np.array(_colour(chance), float) for _ in range(2))
    return Image.fromarray((first + (second - first) * ramp).astype(np.uint8))


def _texture(chance: Random, _around: Sequence[Picture], side: int) -> Picture:
    """Noise at two scales, coloured."""
    noise = np.random.default_rng(chance.getrandbits(32))
    layers = []
    for _ in range(2):
        cells = chance.choice([3, 6, 12, 24, 48])
        values = noise.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        how = chance.choice([Image.Resampling.BICUBIC, Image.Resampling.NEAREST])
        layers.append(Image.fromarray(values).resize((side, side), how))
    return Image.blend(layers[0], layers[1], chance.uniform(0.1, 0.6))


def _plain(chance: Random, _around: Sequence[Picture], side: int) -> Picture:
    return Image.new("RGB", (side, side), _colour(chance))


def _collage(chance: Random, around: Sequence[Picture], side: int) -> Picture:
    """A grid of two to nine pictures."""
    columns, rows = chance.randint(1, 3), chance.randint(2, 3)
    canvas, gap = Image.new("RGB", (side, side), _colour(chance)), chance.choice([0, 2, 5])
    width, height = side // columns, side // rows
    for cell in range(columns * rows):
        one = chance.choice(around).resize((width - gap, height - gap))
        canvas.paste(one, (cell % columns * width, cell // columns * height))
    return canvas


def _shape(canvas: Picture, chance: Random, _around: Sequence[Picture]) -> Picture:
    canvas = canvas.copy()
    draw, side = ImageDraw.Draw(canvas), canvas.size[0]
    corners = [(chance.uniform(0, side), chance.uniform(0, side)) for _ in range(chance.randint(3, 7))]
    left, top = corners[0]
    box = (left, top, left + chance.uniform(5, side / 2), top + chance.uniform(5, side / 2))
    kind = chance.randrange(4)
    if kind == 0:
        draw.ellipse(box, fill=_colour(chance))
    elif kind == 1:
        draw.rectangle(box, fill=_colour(chance))
    elif kind == 2:
        draw.polygon(corners, fill=_colour(chance))
    else:
        draw.line(corners, fill=_colour(chance), width=chance.randint(1, 9))
    return canvas


def _paste(canvas: Picture, chance: Random, around: Sequence[Picture]) -> Picture:
    """A round or square piece of another picture, with a soft or a hard edge."""
    other, side = chance.choice(around), canvas.size[0]
    size = round(side * chance.uniform(0.15, 0.5))
    left, top = (round(chance.uniform(0, edge * 0.5)) for edge in other.size)
    piece = other.crop((left, top, left + other.size[0] // 2, top + other.size[1] // 2)).resize((size, size))
    mask = Image.new("L", (size, size))
    draw, edge = ImageDraw.Draw(mask), size // 10
    (draw.ellipse if chance.random() < 0.5 else draw.rectangle)((edge, edge, size - edge, size - edge), fill=255)
    if chance.random() < 0.5:
        mask = mask.filter(ImageFilter.GaussianBlur(size / 20))
    canvas = canvas.copy()
    canvas.paste(piece, (round(chance.uniform(0, side - size)), round(chance.uniform(0, side - size))), mask)
    return canvas


def _written(canvas: Picture, chance: Random, _around: Sequence[Picture]) -> Picture:
    return overlay(canvas, chance, chance.random())


def _colour(chance: Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


_BACKGROUNDS: list[Callable[[Random, Sequence[Picture], int], Picture]] = [
    _gradient,
    _texture,
    _plain,
    _collage,
    _collage,
]
_THINGS: list[Callable[[Picture, Random, Sequence[Picture]], Picture]] = [_shape, _shape, _paste, _paste, _written]
