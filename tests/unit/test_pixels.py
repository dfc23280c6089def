"""Pictures of every kind become the same square of numbers; everything else is refused with its reason."""

import io
import tracemalloc
import zlib
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from consumer.adapters.pixels import (
    MAX_PIXELS,
    Pixels,
    Preprocessing,
    Reason,
    UnreadableImageError,
    measured_pixels,
    pixels,
    preprocessing_of,
)
from consumer.records import Picture
from tests.pictures import animated, bomb, encoded, gif_bomb, hostile, photo, png

SQUASH = Preprocessing(32, "squash", "bilinear")
CROP = Preprocessing(32, "crop", "bicubic", 40)
UNFRAMED = replace(SQUASH, unframe=True)
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
FILES = [encoded(photo(3, 40, 30), kind) for kind in KINDS] + [animated("GIF"), animated("WEBP"), animated("PNG")]


def reason(content: bytes, preprocessing: Preprocessing = SQUASH) -> Reason:
    with pytest.raises(UnreadableImageError) as caught:
        pixels(content, preprocessing)
    return caught.value.reason


def difference(left: Pixels, right: Pixels) -> float:
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


def colour(content: bytes) -> tuple[int, ...]:
    """Of the middle."""
    return tuple(pixels(content, SQUASH)[16, 16].tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preprocessing", [SQUASH, CROP], ids=lambda p: p.resize)
def test_a_picture_is_the_same_in_every_format(kind: str, preprocessing: Preprocessing) -> None:
    image = photo(1, 120, 80)
    made = pixels(encoded(image, kind), preprocessing)
    assert made.shape == (32, 32, 3)
    assert made.dtype == np.uint8
    # A GIF has 256 colours, JPEG and WebP lose a little.
    assert difference(made, pixels(encoded(image, "BMP"), preprocessing)) < 12


@pytest.mark.parametrize("turn", range(2, 9))
def test_the_orientation_in_the_metadata_is_applied(turn: int) -> None:
    image, exif = photo(2, 60, 40), Image.Exif()
    exif[0x0112] = turn
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[turn]
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for preprocessing in (SQUASH, CROP, UNFRAMED):
            turned = pixels(encoded(image.transpose(stored), kind, exif=exif), preprocessing)
            assert difference(turned, pixels(encoded(image, kind), preprocessing)) < 8


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    plain = pixels(encoded(photo(2)), SQUASH)
    assert np.array_equal(pixels(encoded(photo(2), exif=exif), SQUASH), plain)
    assert np.array_equal(pixels(encoded(photo(2), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), SQUASH), plain)


def test_modes_of_every_kind_are_colours() -> None:
    red = Image.new("RGB", (64, 64), (200, 30, 30))
    assert colour(encoded(red, "PNG")) == (200, 30, 30)
    assert colour(encoded(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")) == (200, 30, 30)
    assert colour(encoded(red.convert("CMYK"), "TIFF")) == (200, 30, 30)
    assert np.abs(np.subtract(colour(encoded(red.convert("CMYK"))), (200, 30, 30))).max() < 8
    assert colour(encoded(red.convert("L"), "PNG")) == (81,) * 3
    assert colour(encoded(Image.new("1", (64, 64), 1), "PNG")) == (255,) * 3
    assert colour(encoded(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), "PNG")) == (156,) * 3
    assert colour(encoded(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), "TIFF")) == (156,) * 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(kind: str) -> None:
    assert colour(encoded(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), kind)) == (255, 255, 255)
    half = colour(encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 128)), kind))
    assert half == (127, 127, 127)


def test_a_transparent_palette_is_white() -> None:
    image = Image.new("P", (64, 64), 3)
    image.putpalette([50, 60, 70] * 8)
    assert colour(encoded(image, "GIF", transparency=3)) == (255, 255, 255)
    assert colour(encoded(image, "PNG", transparency=3)) == (255, 255, 255)
    assert colour(encoded(image, "PNG")) == (50, 60, 70)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    alone = pixels(encoded(photo(1, 32, 32), "PNG"), SQUASH)
    assert difference(pixels(animated(kind), SQUASH), alone) < 12
    assert difference(pixels(animated(kind, (2, 1)), SQUASH), alone) > 20


def test_cropping_keeps_the_centre_and_the_proportions() -> None:
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste(Image.new("RGB", (100, 100), "red"), (100, 0))
    kept = pixels(encoded(wide, "PNG"), Preprocessing(32, "crop", "box", 32))
    assert (kept == (255, 0, 0)).all()
    squashed = pixels(encoded(wide, "PNG"), Preprocessing(32, "squash", "box"))
    assert (squashed[:, :8] == (0, 0, 255)).all()


@pytest.mark.parametrize("preprocessing", [SQUASH, CROP], ids=lambda p: p.resize)
@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 2)])
def test_the_smallest_and_the_longest_pictures_are_read(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    for kind in ("PNG", "JPEG"):
        assert (pixels(encoded(Image.new("RGB", size, "white"), kind), preprocessing) == 255).all()


@pytest.mark.parametrize("content", [bomb(), gif_bomb(), png(65_537, 1024)], ids=["png", "gif", "just above"])
def test_a_bomb_is_refused_before_it_is_unpacked(content: bytes) -> None:
    tracemalloc.start()
    try:
        assert reason(content) == "pixels"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_picture_with_the_most_pixels_is_read() -> None:
    width = 16_384
    content = png(
        width, MAX_PIXELS // width, zlib.decompress(zlib.compress(bytes(MAX_PIXELS // width * (3 * width + 1))))
    )
    assert not pixels(content, SQUASH).any()


@pytest.mark.parametrize(("name", "content", "outcome"), [(n, c, o) for n, (c, o) in hostile().items()])
def test_hostile_files(name: str, content: bytes, outcome: str) -> None:
    if outcome == "read":
        assert pixels(content, SQUASH).shape == (32, 32, 3)
    else:
        assert f"unreadable_{reason(content)}" == outcome


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF"])
def test_a_beginning_is_no_picture(content: bytes) -> None:
    assert reason(content) in {"format", "data"}


def test_formats_outside_the_list_are_not_opened() -> None:
    for kind in ("PPM", "ICO", "TGA", "PCX", "PDF"):
        assert reason(encoded(photo(1), kind)) == "format"


def test_floating_point_pictures_are_read_or_refused_and_never_more() -> None:
    content = encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")
    assert pixels(content, SQUASH).shape == (32, 32, 3)


def test_truncated_files_stay_refused() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        content = encoded(photo(4), kind)
        assert reason(content[: len(content) * 2 // 3]) == "data"


def survives(content: bytes) -> None:
    for preprocessing in (SQUASH, CROP, UNFRAMED):
        made: Pixels | Reason
        try:
            made = pixels(content, preprocessing)
        except UnreadableImageError as error:
            made = error.reason
        assert made in get_args(Reason) if isinstance(made, str) else made.shape == (32, 32, 3)


@given(st.binary(max_size=200), st.sampled_from([b"", *(file[:24] for file in FILES)]))
def test_any_bytes_are_pixels_or_a_reason(content: bytes, head: bytes) -> None:
    survives(head + content)


@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5),
    st.integers(0, 400),
)
@settings(max_examples=200)
def test_mutated_files_are_pixels_or_a_reason(content: bytes, changes: list[tuple[int, bytes]], cut: int) -> None:
    mutated = bytearray(content)
    for place, new in changes:
        at = place % len(mutated)
        mutated[at : at + len(new)] = new
    survives(bytes(mutated[: len(mutated) - cut]))


@given(st.sampled_from(FILES), st.integers(0, 80), st.binary(min_size=1, max_size=4))
@settings(max_examples=200)
def test_mutated_headers_are_pixels_or_a_reason(content: bytes, at: int, new: bytes) -> None:
    survives(content[:at] + new + content[at + len(new) :])


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(KINDS))
def test_any_size_is_read(width: int, height: int, kind: str) -> None:
    content = encoded(photo(5, width, height), kind)
    for preprocessing in (SQUASH, CROP, UNFRAMED):
        assert pixels(content, preprocessing).shape == (32, 32, 3)


def test_a_large_photograph_looks_the_same_decoded_small() -> None:
    image = photo(6, 1600, 1200)
    reduced, whole = pixels(encoded(image, quality=95), SQUASH), pixels(encoded(image, "PNG"), SQUASH)
    assert difference(reduced, whole) < 2
    with Image.open(io.BytesIO(encoded(image))) as opened:
        assert opened.draft("RGB", (32, 32)) is not None, "it is decoded at a lesser scale"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_measured_as_it_is_stored(kind: str) -> None:
    content = encoded(photo(3, 900, 400), kind)
    made, picture = measured_pixels(content, SQUASH)
    assert picture == Picture(900, 400, len(content)), "not as it was decoded, which may be at an eighth"
    assert np.array_equal(made, pixels(content, SQUASH))


def test_a_spec_is_read() -> None:
    assert preprocessing_of({"size": 32, "resize": "squash", "filter": "bilinear"}) == SQUASH
    assert preprocessing_of({"size": 32, "resize": "crop", "filter": "bicubic", "shortest_edge": 40}) == CROP
    assert preprocessing_of({"size": 32, "resize": "squash", "filter": "bilinear", "unframe": True}) == UNFRAMED


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 2.5},
        {"size": True},
        {"resize": "pad"},
        {"filter": "lanczos"},
        {"resize": "crop"},
        {"shortest_edge": 40},
        {"resize": "crop", "shortest_edge": 16},
        {"resize": "crop", "shortest_edge": 40, "unframe": True},
        {"unframe": 1},
    ],
    ids=str,
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        preprocessing_of({"size": 32, "resize": "squash", "filter": "box", **wrong})


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    content = encoded(photo(1), "JPEG", progressive=True)
    scan = content.index(b"\xff\xda")
    with pytest.raises(UnreadableImageError, match="pixels"):
        pixels(content[:scan] + b"\xff\xda\x00\x08" * 1_000 + content[scan:], SQUASH)
