"""What is done to a picture before it is posted again, as seeded functions: what an image encoder should forgive.

Each attack takes an RGB picture, a `random.Random` and a strength from 0 (hardly seen) to 1 (as hard as anybody posts),
and returns an RGB picture; sizes may change. `jpeg` is how every picture ends: as bytes.
"""

import io
from collections.abc import Callable, Mapping
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Picture = Image.Image
Attack = Callable[[Picture, Random, float], Picture]
Colour = tuple[int, int, int]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!?&@#%$.-"


def crop(picture: Picture, chance: Random, strength: float) -> Picture:
    """Keep 95 to 35 % of the area, anywhere, in about the same shape."""
    width, height = picture.size
    share, shape = 0.95 - 0.6 * strength, chance.uniform(0.9, 1.1)
    side = share**0.5
    cut_width, cut_height = min(width, width * side * shape), min(height, height * side / shape)
    left, top = chance.uniform(0, width - cut_width), chance.uniform(0, height - cut_height)
    return picture.crop((round(left), round(top), round(left + cut_width), round(top + cut_height)))


def rescale(picture: Picture, chance: Random, strength: float) -> Picture:
    """Resize to 80 to 20 % of the width and, up to 20 % apart, of the height."""
    width, height = picture.size
    scale, squeeze = 0.8 - 0.6 * strength, 1 + chance.uniform(-0.2, 0.2) * strength
    size = (max(24, round(width * scale * squeeze)), max(24, round(height * scale)))
    return picture.resize(size, chance.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]))


def reencode(picture: Picture, _chance: Random, strength: float) -> Picture:
    """JPEG at a quality of 70 down to 6."""
    with Image.open(io.BytesIO(jpeg(picture, round(70 - 64 * strength)))) as again:
        return again.convert("RGB")


def watermark(picture: Picture, chance: Random, strength: float) -> Picture:
    """Words that shine through, tiled over the whole or one large and slanted; opaque by 15 to 60 %."""
    width, height = picture.size
    tiled, opacity = chance.random() < 0.5, round(255 * (0.15 + 0.45 * strength))
    font = _font(
        max(8, round(min(width, height) * (chance.uniform(0.05, 0.09) if tiled else chance.uniform(0.12, 0.2))))
    )
    word, tone = _words(chance, 1, 3), chance.choice([255, 255, 0])
    broad, high = round(1.45 * width), round(1.45 * height)
    layer = Image.new("L", (broad, high))
    draw = ImageDraw.Draw(layer)
    box = draw.textbbox((0, 0), word, font=font)
    if tiled:
        step_x, step_y = round(box[2] * 1.4) + 1, round(box[3] * 2.2) + 1
        for top in range(0, high, step_y):
            for left in range(-(top // step_y % 2) * step_x // 2, broad, step_x):
                draw.text((left, top), word, fill=opacity, font=font)
    else:
        draw.text(((broad - box[2]) // 2, (high - box[3]) // 2), word, fill=opacity, font=font)
    layer = layer.rotate(chance.uniform(-40, 40), Image.Resampling.BILINEAR)
    left, top = (broad - width) // 2, (high - height) // 2
    mask = layer.crop((left, top, left + width, top + height))
    marked = picture.copy()
    marked.paste((tone, tone, tone), (0, 0), mask)
    return marked


def overlay(picture: Picture, chance: Random, strength: float) -> Picture:
    """Lines of text on top, with or without a plate behind; up to a third of the picture is covered."""
    width, height = picture.size
    written = picture.copy()
    draw = ImageDraw.Draw(written)
    for _ in range(1 + round(2 * strength)):
        font = _font(max(8, round(height * chance.uniform(0.05, 0.07 + 0.07 * strength))))
        words, ink = _words(chance, 1, 4), _colour(chance)
        box = draw.textbbox((0, 0), words, font=font)
        left, top = chance.uniform(-0.1, 0.5) * width, chance.uniform(0, 0.85) * height
        if chance.random() < 0.5:
            plate = (
                (0, top, width, top + box[3] * 1.15)
                if chance.random() < 0.5
                else (left, top, left + box[2], top + box[3] * 1.1)
            )
            draw.rectangle(plate, fill=_contrast(ink))
        draw.text(
            (left, top),
            words,
            fill=ink,
            font=font,
            stroke_width=chance.choice([0, 0, 1, 2]),
            stroke_fill=_contrast(ink),
        )
    return written


def border(picture: Picture, chance: Random, strength: float) -> Picture:
    """A frame of one colour, or of the blurred picture, 3 to 20 % wide; on all sides, or on two."""
    width, height = picture.size
    share = 0.03 + 0.17 * strength
    across, down = chance.choice([(1, 1), (1, 1), (1, 0), (0, 1)])
    left, top = round(width * share * across), round(height * share * down)
    size = (width + 2 * left, height + 2 * top)
    if chance.random() < 0.15:
        framed = picture.resize(size).filter(ImageFilter.GaussianBlur(max(size) / 25))
    else:
        framed = Image.new("RGB", size, chance.choice([(255, 255, 255), (0, 0, 0), _colour(chance)]))
    framed.paste(picture, (left, top))
    return framed


def colour(picture: Picture, chance: Random, strength: float) -> Picture:
    """One or two of: brightness, contrast, saturation, hue, gamma, a tint, grey. Each up to a half at full strength."""
    for change in chance.sample(_TONES, chance.choice([1, 2])):
        picture = change(picture, chance, strength)
    return picture


def mirror(picture: Picture, _chance: Random, _strength: float) -> Picture:
    """Flip horizontally."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def quarter(picture: Picture, chance: Random, _strength: float) -> Picture:
    """Rotate by 90, 180 or 270 degrees."""
    turns = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
    return picture.transpose(chance.choice(turns))


def tilt(picture: Picture, chance: Random, strength: float) -> Picture:
    """Rotate by 2 to 20 degrees either way; the corners are filled, or cut off with what is between them."""
    angle = (2 + 18 * strength) * chance.choice([-1, 1])
    fill = chance.choice([(0, 0, 0), (255, 255, 255), None])
    turned = picture.rotate(angle, Image.Resampling.BILINEAR, expand=fill is not None, fillcolor=fill or (0, 0, 0))
    if fill is not None:
        return turned
    # What is left after the empty corners are cut off, for a square: 1 / (cos + sin) of the side.
    width, height = picture.size
    side = 1 / (1 + 1.1 * abs(angle) / 57.3)
    left, top = round(width * (1 - side) / 2), round(height * (1 - side) / 2)
    return turned.crop((left, top, width - left, height - top))


ATTACKS: Mapping[str, Attack] = {
    "crop": crop,
    "rescale": rescale,
    "re-encode": reencode,
    "watermark": watermark,
    "text overlay": overlay,
    "border": border,
    "colour": colour,
    "horizontal flip": mirror,
    "rotation by 90°": quarter,
    "small rotation": tilt,
}


def mixed(picture: Picture, chance: Random, strength: float) -> Picture:
    """Two or three attacks of different kinds, one after the other."""
    for name in chance.sample(sorted(ATTACKS), chance.choice([2, 3])):
        picture = ATTACKS[name](picture, chance, strength)
    return picture


def jpeg(picture: Picture, quality: int) -> bytes:
    """The picture as a JPEG file. `quality` as Pillow means it, 1 to 95."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _enhance(kind: Callable[[Picture], ImageEnhance._Enhance]) -> Attack:
    def change(picture: Picture, chance: Random, strength: float) -> Picture:
        factor = 1 + strength * chance.uniform(0.2, 0.5)
        return kind(picture).enhance(chance.choice([factor, 1 / factor]))

    return change


def _hue(picture: Picture, chance: Random, strength: float) -> Picture:
    shift = round(strength * chance.uniform(5, 25)) * chance.choice([-1, 1])
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(tone + shift) % 256 for tone in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _gamma(picture: Picture, chance: Random, strength: float) -> Picture:
    power = (1 + strength * chance.uniform(0.2, 0.6)) ** chance.choice([-1, 1])
    return picture.point([round(255 * (tone / 255) ** power) for tone in range(256)] * 3)


def _tint(picture: Picture, chance: Random, strength: float) -> Picture:
    return Image.blend(picture, Image.new("RGB", picture.size, _colour(chance)), strength * chance.uniform(0.1, 0.3))


def _grey(picture: Picture, _chance: Random, strength: float) -> Picture:
    return Image.blend(picture, ImageOps.grayscale(picture).convert("RGB"), min(1.0, 1.2 * strength))


_TONES: list[Attack] = [
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Color),
    _hue,
    _gamma,
    _tint,
    _grey,
]


def _words(chance: Random, least: int, most: int) -> str:
    lengths = [chance.randint(2, 9) for _ in range(chance.randint(least, most))]
    return " ".join("".join(chance.choices(_LETTERS, k=length)) for length in lengths)


def _colour(chance: Random) -> Colour:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _contrast(colour: Colour) -> Colour:
    return (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
