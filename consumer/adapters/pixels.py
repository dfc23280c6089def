"""Picture file → the pixels that an image model takes. Training, evaluation and serving use this one function.

Whatever the bytes hold, the answer is an array or UnreadableImageError. The size is read from the header and refused
before anything is decoded, so a small file cannot unpack into gigabytes.
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from consumer.adapters.frames import LOOKED_AT, has_plain_corners, unframed
from consumer.records import Picture

Pixels = npt.NDArray[np.uint8]
Reason = Literal["format", "pixels", "data"]
"""`format`: not a picture of a format we read. `pixels`: too many of them. `data`: broken or truncated."""

REVISION = "pixels-1"
"""Part of an encoder's fingerprint; raised when the numbers change for the same bytes."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Of all that Pillow reads: formats of the web and of scanners, none that runs a program (EPS) or reads other files."""

MAX_PIXELS: Final = 64 * 1024 * 1024
"""Of a whole picture. Decoding one takes 256 MiB, of palettes and transparent ones up to 700; of a JPEG, next to nothing. A
telephone makes 12 to 50 million."""

_SCAN, _MAX_SCANS = b"\xff\xda", 200
"""What begins a scan of a JPEG, nowhere else in its data; ten are usual."""

Filter = Literal["box", "bilinear", "bicubic"]
_FILTERS: Final = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_BANDS: Final = frozenset({"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Modes whose numbers are brightness, so that the mean of two pixels is a pixel; others are converted before resizing."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Per value of the EXIF tag Orientation: what brings the picture upright."""


class UnreadableImageError(Exception):
    """A picture that cannot be read. Never leaves the image encoder: the record goes on without its picture."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture becomes a square of pixels, as `preprocessing` in a model's spec.json says.

    `squash` ignores the proportions. `crop` keeps them: the shortest edge becomes `shortest_edge`, the centre is kept.
    `unframe`, with squash: frames of one colour are cut off (`consumer.adapters.frames`).
    Raises ValueError for values that make no sense.
    """

    size: int
    resize: Literal["squash", "crop"]
    filter: Filter
    shortest_edge: int | None = None
    unframe: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1024:
            raise ValueError(f"size: {self.size}; 1 to 1024 are possible")
        if self.filter not in get_args(Filter):
            raise ValueError(f"filter: {self.filter!r}; one of {', '.join(get_args(Filter))}")
        if self.resize not in {"squash", "crop"}:
            raise ValueError(f"resize: {self.resize!r}; squash or crop")
        if (self.resize == "crop") != (self.shortest_edge is not None):
            raise ValueError("shortest_edge: with crop, and only then")
        if self.shortest_edge is not None and self.shortest_edge < self.size:
            raise ValueError(f"shortest_edge: {self.shortest_edge} is less than the size {self.size}")
        if self.unframe and self.resize != "squash":
            raise ValueError("unframe: with squash only")

    @property
    def edge(self) -> int:
        """Pixels that the shortest edge becomes."""
        return self.size if self.shortest_edge is None else self.shortest_edge


def preprocessing_of(spec: Mapping[str, Any]) -> Preprocessing:
    """The object `preprocessing` of a spec.json. Raises ValueError, KeyError or TypeError when it is not one."""
    edge, unframe = spec.get("shortest_edge"), spec.get("unframe", False)
    if not isinstance(unframe, bool):
        raise TypeError(f"unframe: true or false is wanted, this is {unframe!r}")
    return Preprocessing(
        size=_whole(spec["size"]),
        resize=spec["resize"],
        filter=spec["filter"],
        shortest_edge=None if edge is None else _whole(edge),
        unframe=unframe,
    )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number is wanted, this is {value!r}")
    return value


def pixels(content: bytes, preprocessing: Preprocessing) -> Pixels:
    """uint8 [size, size, 3], RGB, upright, on white where it was transparent; of an animation the first frame.

    A JPEG that is much too large is decoded at a half, quarter or eighth of its size. A deeper picture keeps the upper
    8 bits. Colour profiles are not applied. Raises UnreadableImageError, and nothing else.
    """
    return measured_pixels(content, preprocessing)[0]


def measured_pixels(content: bytes, preprocessing: Preprocessing) -> tuple[Pixels, Picture]:
    """`pixels`, and what the file says of itself: width and height as they are stored, before anything is turned."""
    try:
        _refuse_many_scans(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            picture = Picture(image.width, image.height, len(content))
            return _upright(image, preprocessing), picture
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("pixels") from error
    except Exception as error:  # the decoders of a broken file raise whatever its bytes lead to
        raise UnreadableImageError("data") from error


def _refuse_many_scans(content: bytes) -> None:
    """Each scan of a progressive JPEG goes over the whole picture, in a few bytes: thousands would take minutes."""
    if content.startswith(b"\xff\xd8") and content.count(_SCAN) > _MAX_SCANS:
        raise UnreadableImageError("pixels")


def _upright(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError("pixels")
    if image.format in {"JPEG", "MPO"}:
        image.draft("RGB", (preprocessing.edge, preprocessing.edge))
    image.load()
    size, sampling = (preprocessing.size, preprocessing.size), _FILTERS[preprocessing.filter]
    banded = _banded(image)
    small = _on_white(banded.resize(size, sampling, _box(image, preprocessing)))
    if preprocessing.unframe and has_plain_corners(np.asarray(small)):
        kept = unframed(_on_white(_within(banded, LOOKED_AT)))
        small = small if kept is None else kept.resize(size, sampling)
    # Turned when it is small: squashing and cutting the centre come to the same before and after.
    turn = _TURNS.get(_orientation(image))
    if turn is not None:  # the first of them is 0
        small = small.transpose(turn)
    return np.array(small)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, on white where it is transparent."""
    if image.mode in {"LA", "RGBA"}:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _within(image: Image.Image, side: int) -> Image.Image:
    """As it is, or made smaller in its proportions, to at most `side` pixels wide and high."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR
    )


def _banded(image: Image.Image) -> Image.Image:
    """The picture in a mode that can be resized, transparency made a band of its own."""
    if image.mode.startswith("I"):
        deep = np.asarray(image) >> 8  # in its own type: a wider one would take a gigabyte
        return Image.fromarray(np.clip(deep, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        return image if image.mode in {"LA", "RGBA"} else image.convert("RGBA")
    return image if image.mode in _BANDS else image.convert("RGB")


def _box(image: Image.Image, preprocessing: Preprocessing) -> tuple[float, float, float, float] | None:
    """The part of the picture that is kept, in its own pixels; None: all of it.

    It is cut out before resizing: the other edge of a strip of 1 by 60,000 would be millions long.
    """
    if preprocessing.resize == "squash":
        return None
    width, height = image.size
    kept = min(width, height) * preprocessing.size / preprocessing.edge
    left, top = (width - kept) / 2, (height - kept) / 2
    return left, top, left + kept, top + kept


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none. A TIFF was turned by Pillow as it was loaded."""
    with contextlib.suppress(Exception):  # broken metadata makes no picture unreadable
        value = image.getexif().get(ExifTags.Base.Orientation)
        if isinstance(value, int):
            return value
    return 1
