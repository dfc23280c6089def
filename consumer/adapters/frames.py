"""Frames of one colour around a picture, which sellers and scanners add: found, and cut off.

A picture that was turned by a few degrees lies on such a frame too; it is cut out straight. What is cut off has to be a
rectangle that fills its edges: a bottle on white is not framed.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

_Pixels = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]
_Box = tuple[float, float, float, float]
"""Left, right, top and bottom."""

LOOKED_AT: Final = 256
"""Pixels of the longer edge at which frames are looked for: more find no more."""
_TOLERANCE: Final = 32
"""Levels of a channel by which a frame may differ from its colour: JPEG leaves that much around edges."""
_CORNER: Final = 2
_LEAST: Final = 0.5
"""Of each edge that is left: a frame is not wider than what it frames."""
_MOST: Final = 0.985
"""Of the area that is left at most: less of a frame is the edge of the picture itself."""
_SHARE: Final = 0.3
"""Of a row or column that differs from the frame where the picture begins; a line of text on a frame is less."""
_FILLED: Final = 0.7
_TOUCHED: Final = 0.75
"""Of each edge of the rectangle that the picture has to reach."""
_SAVED: Final = 0.97
"""Of the area of the upright rectangle that a turned one has at most; else the picture is not turned."""
_DIRT: Final = 0.2
"""Of the frame that may be of another colour: watermarks, text."""
_PLAIN: Final = 8.0
"""Levels by which the pixels of a picture spread at least, in one of the channels; what spreads less is not cut out."""
_GRID: Final = 64
_DEGREES: Final = np.arange(-24.0, 25.0)
_FRACTIONS: Final = np.arange(-1.0, 1.01, 0.2)
_LAYERS: Final = 3
"""Frames within each other that are cut off."""


def has_plain_corners(pixels: _Pixels) -> bool:
    """Whether the four corners [height, width, 3] have one colour: without that there is no frame."""
    return _corner_colour(pixels) is not None


def unframed(image: Image.Image) -> Image.Image | None:
    """What the frames of a small RGB picture are around; None where there is none. `LOOKED_AT` says how small."""
    found = None
    for _ in range(_LAYERS):
        cut = _cut(image if found is None else found)
        if cut is None:
            break
        found = cut
    return found


def _cut(image: Image.Image) -> Image.Image | None:
    pixels = np.asarray(image)
    colour = _corner_colour(pixels)
    if colour is None:
        return None
    red, green, blue = (np.abs(pixels[..., band] - np.float32(colour[band])) > _TOLERANCE for band in range(3))
    picture = red | green | blue
    candidates = [found for found in (_turned(picture), _upright(picture)) if found and _is_framed(picture, *found)]
    if not candidates:
        return None
    angle, box = candidates[0]
    left, right, top, bottom = _inset(box, image.size, 1.0 if angle else 0.5)
    corners = _back([left, left, right, right], [top, bottom, bottom, top], angle)
    size = max(1, round(right - left)), max(1, round(bottom - top))
    quad = [float(number) for corner in zip(*corners, strict=True) for number in corner]
    kept = image.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    # of a plain thing on a plain ground the outline is all there is to know
    return None if np.asarray(kept, np.float32).std((0, 1)).max() < _PLAIN else kept


def _corner_colour(pixels: _Pixels) -> _Floats | None:
    """The mean colour of the corners, where they agree."""
    near, far = slice(_CORNER), slice(-_CORNER, None)
    corners = [pixels[rows, columns].mean((0, 1)) for rows in (near, far) for columns in (near, far)]
    if np.ptp(corners, axis=0).max() > _TOLERANCE:
        return None
    return np.asarray(np.mean(corners, axis=0), np.float64)


def _upright(picture: _Mask) -> tuple[float, _Box] | None:
    rows = np.flatnonzero(picture.mean(1) >= _SHARE)
    columns = np.flatnonzero(picture.mean(0) >= _SHARE)
    if not len(rows) or not len(columns):
        return None
    return 0.0, (float(columns[0]), float(columns[-1] + 1), float(rows[0]), float(rows[-1] + 1))


def _turned(picture: _Mask) -> tuple[float, _Box] | None:
    """The least rectangle around the picture with its angle in radians, found by trying; None where turning saves little."""
    rows = np.flatnonzero(picture.any(1))
    if not len(rows):
        return None
    # the ends of each row are enough for a box around them
    first = picture[rows].argmax(1)
    last = picture.shape[1] - picture[rows][:, ::-1].argmax(1)
    x = np.concatenate([first, last, first, last]).astype(np.float64)
    y = np.concatenate([rows, rows, rows + 1, rows + 1]).astype(np.float64)
    angle = _least(x, y, np.deg2rad(_DEGREES))
    angle = _least(x, y, angle + np.deg2rad(_FRACTIONS))
    edges = _around(x, y, np.array([0.0, angle]))
    level, area = (edges[1] - edges[0]) * (edges[3] - edges[2])
    if area > _SAVED * level:
        return None
    left, right, top, bottom = (float(edge[1]) for edge in edges)
    return angle, (left, right, top, bottom)


def _least(x: _Floats, y: _Floats, angles: _Floats) -> float:
    left, right, top, bottom = _around(x, y, angles)
    return float(angles[((right - left) * (bottom - top)).argmin()])


def _around(x: _Floats, y: _Floats, angles: _Floats) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """Per angle the box around the points, in axes that are turned by it."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    across, down = cos * x + sin * y, cos * y - sin * x
    return across.min(1), across.max(1), down.min(1), down.max(1)


def _back(across: npt.ArrayLike, down: npt.ArrayLike, angle: float) -> tuple[_Floats, _Floats]:
    """From turned axes to those of the pixels."""
    u, v, cos, sin = np.asarray(across, np.float64), np.asarray(down, np.float64), np.cos(angle), np.sin(angle)
    return cos * u - sin * v, sin * u + cos * v


def _is_framed(picture: _Mask, angle: float, box: _Box) -> bool:
    """Whether the picture fills the box, reaches its four edges, and leaves next to nothing outside."""
    height, width = picture.shape
    left, right, top, bottom = box
    area = (right - left) * (bottom - top)
    if right - left < _LEAST * width or bottom - top < _LEAST * height or area > _MOST * height * width:
        return False
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = _back(left + steps[None] * (right - left), top + steps[:, None] * (bottom - top), angle)
    inside = picture[np.clip(y.astype(int), 0, height - 1), np.clip(x.astype(int), 0, width - 1)]
    edges = [inside[:2].any(0), inside[-2:].any(0), inside[:, :2].any(1), inside[:, -2:].any(1)]
    outside = picture.sum() - inside.mean() * area
    return bool(
        inside.mean() >= _FILLED
        and min(edge.mean() for edge in edges) >= _TOUCHED
        and outside <= _DIRT * (height * width - area)
    )


def _inset(box: _Box, size: tuple[int, int], by: float) -> _Box:
    """Without the pixels on the seam, which are of both colours. Edges of the whole picture stay."""
    left, right, top, bottom = box
    width, height = size
    return (
        left + by * (left > 0),
        right - by * (right < width or by == 1),
        top + by * (top > 0),
        bottom - by * (bottom < height or by == 1),
    )
