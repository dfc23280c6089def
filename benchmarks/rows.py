"""What the encoders are given: signups and titles that are invented, pictures that are drawn, or photos of your own."""

import io
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from consumer.records import FieldValue
from consumer.simulate import signups
from loadtest.offers import offers

Rows = Sequence[Mapping[str, FieldValue]]


def people(count: int, seed: int) -> Rows:
    """Names with cities: about 12 tokens."""
    return [
        {name: str(item.value[name]) for name in ("name", "city") if name in item.value}
        for item in signups(count, seed)
    ]


def titles(count: int, seed: int) -> Rows:
    """Titles of offers: about 16 tokens."""
    return [{"name": str(value["title"])} for _, value in islice(offers(seed, 0.0), count)]


def recorded(path: Path) -> Rows:
    """`name` and `city` of a JSONL file."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [{name: str(line[name]) for name in ("name", "city") if line.get(name)} for line in lines]


def pictures(count: int, seed: int, photos: Path | None) -> Rows:
    """JPEG files: of a folder, over and over if it holds fewer, or drawn, of 640 by 480 pixels."""
    if photos is None:
        drawn = [_drawn(seed + n) for n in range(min(count, 64))]
    else:
        drawn = [path.read_bytes() for path in sorted(photos.rglob("*.jp*g"))[:count]]
        if not drawn:
            raise SystemExit(f"{photos}: no JPEG file there")
    return [{"picture": drawn[n % len(drawn)]} for n in range(count)]


def _drawn(seed: int) -> bytes:
    """Shapes over a gradient under noise: about as many bytes as a photo of this size."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, 640)[None, :, None] * rng.uniform(0, 255, 3) + rng.uniform(0, 60)
    canvas = np.clip(ramp + rng.normal(0, 8, (480, 640, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h = (int(value) for value in rng.integers(0, 400, 4))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        draw.rectangle((x, y, x + w, y + h), fill=colour) if w % 2 else draw.ellipse((x, y, x + w, y + h), fill=colour)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
