"""Batches to train an image encoder on: originals, and copies of them after seeded attacks. No torch in here.

Every picture reaches the network as in production: a file's bytes through `pixels`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image

from consumer.adapters.pixels import Pixels, Preprocessing, pixels
from export.photos import SIDE, Photo, derived, drawn, picture
from export.transforms import ATTACKS, Picture, jpeg

PREPROCESSING = Preprocessing(size=128, resize="squash", filter="bilinear")
SERVED = replace(PREPROCESSING, unframe=True)
"""Training shows frames all the same: some are blurred, or have words on them, and are not found."""

_SMALL = 144
"""Pixels along each edge of what is attacked: enough for the encoder's 128, and half the work of `SIDE`."""
_KIN = 8
"""Photos of one class that stand side by side in a batch, so that the product alone gives no copy away."""
_KIN_SHARE = 0.6
_DERIVED_SHARE = 0.35


class Supply:
    """All originals in memory, as small pictures and as pixels: 150 KiB each."""

    def __init__(self, photos: Sequence[Photo], drawings: int, seed: int) -> None:
        chance = Random(seed)
        self._pictures = [picture(photo.content, SIDE) for photo in photos]
        self._pixels = [pixels(photo.content, PREPROCESSING) for photo in photos]
        around = self._pictures or [drawn(chance, [_blank()]) for _ in range(8)]
        for _ in range(drawings):
            self._pictures.append(drawn(chance, around))
            self._pixels.append(_as_served(self._pictures[-1], chance))
        self._small = [one.resize((_SMALL, _SMALL), Image.Resampling.BILINEAR) for one in self._pictures]
        self._all_kinds = [photo.kind for photo in photos]
        kinds = defaultdict(list)
        for at, photo in enumerate(photos):
            kinds[photo.kind].append(at)
        self._kinds = [members for kind, members in kinds.items() if kind is not None]

    def __len__(self) -> int:
        return len(self._pictures)

    def everything(self) -> tuple[Pixels, list[str | None]]:
        """All originals [n, 128, 128, 3] as they are, and their classes: None for a drawing."""
        return np.stack(self._pixels), [*self._all_kinds, *[None] * (len(self) - len(self._all_kinds))]

    def originals(self, count: int, chance: Random) -> Pixels:
        """[count, 128, 128, 3]: half as they are, half derived."""
        chosen = chance.choices(range(len(self)), k=count)
        return np.stack([self._original(at, chance, 0.5, SIDE)[1] for at in chosen])

    def pairs(self, count: int, chance: Random) -> tuple[Pixels, Pixels]:
        """Originals and, row by row, a copy of each; both [count, 128, 128, 3]. No original comes twice."""
        firsts, seconds = [], []
        for at in self._chosen(count, chance):
            original, first = self._original(at, chance, _DERIVED_SHARE, _SMALL)
            firsts.append(first)
            seconds.append(_as_served(_attacked(original, chance), chance))
        return np.stack(firsts), np.stack(seconds)

    def _chosen(self, count: int, chance: Random) -> list[int]:
        chosen: dict[int, None] = {}
        while self._kinds and len(chosen) < count * _KIN_SHARE:
            kin = chance.choice(self._kinds)
            chosen.update(dict.fromkeys(chance.sample(kin, min(_KIN, len(kin)))))
            if len(chosen) >= sum(map(len, self._kinds)):
                break
        rest = [at for at in range(len(self)) if at not in chosen]
        return [*chosen, *chance.sample(rest, max(0, min(count - len(chosen), len(rest))))][:count]

    def _original(self, at: int, chance: Random, share: float, side: int) -> tuple[Picture, Pixels]:
        if chance.random() >= share:
            return self._small[at], self._pixels[at]
        made = derived(chance, self._pictures[at], chance.sample(self._pictures, 1), side)
        return made, _as_served(made, chance)


def _attacked(picture: Picture, chance: Random) -> Picture:
    """One to three attacks of different kinds."""
    for name in chance.sample(sorted(ATTACKS), chance.choice([1, 1, 2, 2, 3])):
        picture = ATTACKS[name](picture, chance, chance.random())
    return picture


def _as_served(picture: Picture, chance: Random) -> Pixels:
    return pixels(jpeg(picture, chance.randint(40, 95)), PREPROCESSING)


def _blank() -> Picture:
    return Image.new("RGB", (SIDE, SIDE), "grey")
