"""A seeded stream of invented listings with planted duplicates, and pictures of them. Nothing in it is for sale."""

import base64
import io
import random
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

_BRANDS = "Acero Bluth Corvid Dynamo Elgato Fenwick Globex Halden Initech Juniper Kestrel Lumos Meridian Norvo".split()
_THINGS = (
    *("USB-C charger", "wireless mouse", "mechanical keyboard", "noise cancelling headphones", "action camera"),
    *("solid state drive", "travel router", "espresso machine", "cordless drill", "electric kettle", "desk lamp"),
)
_UNITS = ("GB", "W", "ml", "cm", "TB")
_NOISE = ("NEW", "2-pack", "refurbished", "with case", "fast free delivery", "EU plug", "black", "white")
_RECENT = 400
_TILES = 8


def offers(seed: int, duplicate_share: float) -> Iterator[tuple[int, dict[str, object]]]:
    """(thing, value) without end; about `duplicate_share` of them offer a thing that was offered before, in other words."""
    rng = random.Random(seed)
    things: list[Mapping[str, str]] = []
    while True:
        if things and rng.random() < duplicate_share:
            number = len(things) - 1 - int(rng.expovariate(1 / _RECENT)) % len(things)
        else:
            number = len(things)
            things.append(_thing(rng))
        yield number, _value(rng, things[number])


def picture(thing: int, copy: int) -> str:
    """A JPEG file in base64: the same colours for a thing, in another size and quality for every copy."""
    tiles = np.random.default_rng(thing).integers(0, 255, (_TILES, _TILES, 3)).astype(np.uint8)
    side = 224 + 16 * (copy % 5)
    drawn = Image.fromarray(tiles).resize((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=90 - 5 * (copy % 4))
    return base64.b64encode(file.getvalue()).decode()


def _thing(rng: random.Random) -> Mapping[str, str]:
    code = f"{rng.choice('ABDGKMX')}{rng.choice('CHLST')}-{rng.randrange(1000, 99999)}"
    size = f"{rng.choice([1, 2, 4, 16, 64, 250, 500])} {rng.choice(_UNITS)}"
    return {"brand": rng.choice(_BRANDS), "kind": rng.choice(_THINGS), "code": code, "size": size}


def _value(rng: random.Random, thing: Mapping[str, str]) -> dict[str, object]:
    words = [thing["brand"], thing["kind"], thing["code"], thing["size"], *rng.sample(_NOISE, rng.randrange(3))]
    if rng.random() < 0.3:
        words[1], words[2] = words[2], words[1]
    return {"title": " ".join(words), "brand": thing["brand"], "price": round(rng.uniform(5, 500), 2)}
