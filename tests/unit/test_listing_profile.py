"""What the shipped `listing` profile decides about two records: each kind of evidence, alone and against another."""

import base64
from collections.abc import Mapping

import numpy as np
import orjson
import pytest

from consumer.beliefs import Beliefs
from consumer.comparison import Comparison
from consumer.decode import decode
from consumer.encode import EncoderSet
from consumer.profile import load_profile
from consumer.records import Match, Record
from consumer.settings import load_settings
from consumer.wiring import build_encoders, build_fusion
from tests.factories import message
from tests.pictures import encoded, photo

PICTURE, COPY = encoded(photo(21, 320, 240)), encoded(photo(21, 320, 240).resize((240, 180)), "PNG")
OTHER = encoded(photo(22, 320, 240))
HASH, TWO_BITS_ON, OTHER_HASH = "bf84cc3bd1683e81", "bf84cc3bd1683e82", "a58fcb61e185d8f0"
KETTLE = "Rowenta electric kettle stainless steel with thermostat"


SETTINGS = load_settings(overrides={"models.providers": ["CPUExecutionProvider"], "models.threads": 1})


@pytest.fixture(scope="module")
def encoders() -> EncoderSet:
    return build_encoders(SETTINGS, load_profile("listing"))


def judged(encoders: EncoderSet, left: Mapping[str, object], right: Mapping[str, object]) -> Match | None:
    """The decision on a pair; a picture is given as the bytes of its file."""
    made = []
    for value in (left, right):
        image = value.get("image")
        plain = {**value, "image": base64.b64encode(image).decode()} if isinstance(image, bytes) else value
        record = decode(message(orjson.dumps(plain)), encoders.profile)
        assert isinstance(record, Record)
        made.append(record)
    a, b = encoders.encode(made)
    rows = np.stack([a.values, b.values]).astype(np.float32)
    similarities = encoders.layout.cosines(rows[:1], rows[1:])
    pair = Comparison(np.zeros(1, np.int64), ["other"], similarities, np.array([[a.mask, b.mask]], np.int64))
    return build_fusion(SETTINGS, encoders).judge(pair, Beliefs())[0]


def test_quality_knows_the_picture_that_was_read(encoders: EncoderSet) -> None:
    large, small = encoded(photo(21, 900, 900)), encoded(photo(21, 90, 90))
    values: list[dict[str, object]] = [
        {"title": KETTLE},
        {"title": KETTLE, "image": base64.b64encode(small[:200]).decode()},
        {"title": KETTLE, "image": base64.b64encode(small).decode()},
        {"title": KETTLE, "image": base64.b64encode(large).decode()},
        {"title": KETTLE, "image": base64.b64encode(large).decode(), "description": "word " * 50},
    ]
    records = [decode(message(value), encoders.profile) for value in values]
    vectors = encoders.encode([record for record in records if isinstance(record, Record)])
    nothing, broken, little, much, all_of_it = [vector.quality for vector in vectors]
    assert nothing == broken == 0.225
    assert broken < little < much < all_of_it < 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"title": KETTLE}, {"title": KETTLE}),
        ({"title": KETTLE}, {"title": f"  {KETTLE.upper()}  "}),
        ({"image": PICTURE}, {"image": COPY}),
        ({"gtin": "4006381333931"}, {"gtin": "4006381333931", "price": 9}),
        (
            {"title": "Rowenta kettle KE7200-41", "price": 39},
            {"title": "Rowenta KE720041 kettle steel", "price": "41,90"},
        ),
        ({"title": KETTLE, "image": PICTURE}, {"title": KETTLE, "image": OTHER}),
        ({"title": KETTLE, "image": PICTURE}, {"title": f"{KETTLE} new", "image": COPY}),
        (
            {"title": KETTLE, "image_phash": HASH},
            {"title": "Rowenta kettle, thermostat", "image_phash": TWO_BITS_ON},
        ),
        ({"title": KETTLE, "image_phash": HASH}, {"title": KETTLE, "image_phash": OTHER_HASH}),
        ({"image_phash": HASH}, {"image_phash": TWO_BITS_ON}),
    ],
    ids=[
        "title",
        "shouted",
        "picture",
        "gtin",
        "code",
        "other photograph",
        "copied photograph",
        "hash",
        "other hash",
        "hash alone",
    ],
)
def test_one_kind_of_evidence_is_enough(
    encoders: EncoderSet, left: dict[str, object], right: dict[str, object]
) -> None:
    match = judged(encoders, left, right)
    assert match is not None
    assert match.duplicate


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"title": "Kettle KE7200-41", "image": PICTURE}, {"title": "Kettle KE8300-52", "image": COPY}),
        ({"title": KETTLE, "gtin": "4006381333931"}, {"title": KETTLE, "gtin": "9780306406157"}),
        ({"brand": "Rowenta", "price": 39}, {"brand": "Rowenta", "price": 39}),
        (
            {"brand": "Rowenta", "price": 39, "description": KETTLE},
            {"brand": "Rowenta", "price": 39, "description": KETTLE},
        ),
        ({"image": PICTURE}, {"image": OTHER}),
        ({"title": KETTLE}, {"title": "Acoustic guitar with a spruce top"}),
        ({"title": KETTLE}, {"title": "Rowenta kettle, thermostat"}),
        ({"title": "Kettle KE7200-41", "image_phash": HASH}, {"title": "Kettle KE8300-52", "image_phash": HASH}),
        ({"title": KETTLE, "image_phash": HASH}, {"title": "Acoustic guitar, spruce", "image_phash": HASH}),
        ({"image_phash": HASH}, {"image_phash": OTHER_HASH}),
    ],
    ids=[
        *("codes against picture", "codes against title", "brand and price", "no title", "pictures", "titles"),
        *("like titles", "codes against hash", "titles against hash", "hashes"),
    ],
)
def test_what_contradicts_or_says_too_little_does_not_merge(
    encoders: EncoderSet, left: dict[str, object], right: dict[str, object]
) -> None:
    match = judged(encoders, left, right)
    assert match is None or not match.duplicate


def test_a_pack_size_that_contradicts_lowers_the_score(encoders: EncoderSet) -> None:
    one = {"title": "Acme protein bar chocolate peanut 50 g pack of 12"}
    agreed = judged(encoders, one, {"title": "ACME protein bar, chocolate peanut, 50g, pack of 12"})
    other = judged(encoders, one, {"title": "ACME protein bar, chocolate peanut, 50g, pack of 24"})
    assert agreed is not None
    assert agreed.similarities["quantities"] > 0.99
    assert agreed.contributions["quantities"] > 0
    assert other is None or (other.contributions["quantities"] < 0 and other.probability < agreed.probability)
