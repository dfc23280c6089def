"""A frame is cut off, whatever its colour and width; what only looks a little like one stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from consumer.adapters.frames import unframed
from consumer.adapters.pixels import Preprocessing, pixels
from tests.pictures import encoded, photo

SQUASH = Preprocessing(128, "squash", "bilinear")
UNFRAMED = Preprocessing(128, "squash", "bilinear", unframe=True)
COLOURS = ["white", "black", "red", (250, 250, 248)]


def noisy(seed: int, width: int = 180, height: int = 150) -> Image.Image:
    """A photo whose edges are nowhere of one colour."""
    speckles = np.random.default_rng(seed).integers(60, 190, (height // 5, width // 5, 3), dtype=np.uint8)
    return Image.blend(photo(seed, width, height), Image.fromarray(speckles).resize((width, height)), 0.7)


def framed(image: Image.Image, colour: str | tuple[int, ...], across: int, down: int) -> Image.Image:
    canvas = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), colour)
    canvas.paste(image, (across, down))
    return canvas


def apart(left: Image.Image, right: Image.Image, preprocessing: Preprocessing = UNFRAMED) -> float:
    """Mean difference in levels of what the model sees of two pictures, sent as JPEG."""
    seen = [pixels(encoded(image, quality=85), preprocessing).astype(int) for image in (left, right)]
    return float(np.abs(seen[0] - seen[1]).mean())


@pytest.mark.parametrize("colour", COLOURS, ids=str)
@pytest.mark.parametrize(("across", "down"), [(6, 6), (36, 36), (40, 0), (0, 30), (20, 60)])
def test_a_framed_picture_is_seen_as_the_picture(colour: str | tuple[int, ...], across: int, down: int) -> None:
    image = noisy(1)
    copy = framed(image, colour, across, down)
    assert apart(image, copy) < 8
    assert apart(image, copy, SQUASH) > 15, "which it is not by itself"


def test_frames_within_frames_go() -> None:
    image = noisy(2)
    assert apart(image, framed(framed(image, "white", 20, 20), "black", 9, 14)) < 8


@pytest.mark.parametrize("degrees", [-19, -7, -2, 3, 11, 20])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_a_picture_that_was_turned_on_a_plain_ground_is_cut_out_straight(degrees: int, colour: str) -> None:
    image = noisy(3)
    turned = image.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor=colour)
    assert apart(image, turned) < 10
    assert apart(image, turned, SQUASH) > 20


def test_words_on_a_frame_do_not_keep_it() -> None:
    image = noisy(4)
    copy = framed(image, "white", 30, 30)
    ImageDraw.Draw(copy).text((40, 6), "BEST PRICE", fill="black")
    assert apart(image, copy) < 8


def test_the_outline_of_a_plain_thing_on_a_plain_ground_is_kept() -> None:
    tall, wide = (Image.new("RGB", (200, 200), "white") for _ in range(2))
    ImageDraw.Draw(tall).rectangle((40, 10, 160, 190), fill="navy")
    ImageDraw.Draw(wide).rectangle((10, 45, 190, 155), fill="navy")
    assert unframed(tall) is None
    assert apart(tall, wide) > 15


def goods(shape: str) -> Image.Image:
    """Something for sale on white, as catalogues show it."""
    mask = Image.new("L", (200, 200), 0)
    draw = ImageDraw.Draw(mask)
    if shape == "plate":
        draw.ellipse((20, 20, 180, 180), fill=255)
    elif shape == "bottle":
        draw.rounded_rectangle((60, 60, 140, 190), 20, fill=255)
        draw.rectangle((88, 10, 112, 70), fill=255)
    else:
        draw.polygon([(20, 60), (120, 20), (190, 130), (70, 185)], fill=255)
    canvas = Image.new("RGB", mask.size, "white")
    canvas.paste(noisy(5, *mask.size), mask=mask)
    return canvas


@pytest.mark.parametrize(
    "image",
    [
        noisy(6),
        *map(goods, ("plate", "bottle", "shard")),
        framed(noisy(7), "white", 200, 200),  # wider than the picture: a stamp on a page
        Image.new("RGB", (90, 70), "teal"),
        Image.linear_gradient("L").convert("RGB"),
        framed(noisy(8), "white", 0, 0).resize((1, 300)),
        Image.new("RGB", (1, 1)),
    ],
    ids=["photo", "plate", "bottle", "shard", "stamp", "plain", "gradient", "strip", "pixel"],
)
def test_what_is_not_framed_stays_as_it_is(image: Image.Image) -> None:
    assert unframed(image) is None
    content = encoded(image)
    assert np.array_equal(pixels(content, UNFRAMED), pixels(content, SQUASH))


def test_a_large_picture_is_looked_at_when_it_is_small() -> None:
    image = noisy(9, 1500, 1100)
    assert apart(image, framed(image, "white", 200, 100)) < 8


def test_a_frame_that_is_transparent_is_one_on_white() -> None:
    image = noisy(10)
    canvas = Image.new("RGBA", (240, 210), (0, 0, 0, 0))
    canvas.paste(image, (30, 30))
    seen = pixels(encoded(canvas, "PNG"), UNFRAMED).astype(int)
    assert np.abs(seen - pixels(encoded(image, "PNG"), UNFRAMED).astype(int)).mean() < 8


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        elements=st.sampled_from([0, 40, 255]),
        fill=st.sampled_from([0, 255]),
    )
)
def test_whatever_the_picture_an_answer_is_within_it(image: np.ndarray) -> None:
    kept = unframed(Image.fromarray(image))
    if kept is not None:
        assert 1 <= kept.width * kept.height < image.shape[0] * image.shape[1] * 1.01
