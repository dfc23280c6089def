"""Codes that agree are near, those that contradict are not, and silence says nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.codes_encoder import CodesEncoder
from consumer.adapters.product_codes import codes, quantities
from consumer.records import FieldValue
from tests.factories import KEY

ENCODER = CodesEncoder(["title", "gtin"], 128, KEY)
TEXTS = st.lists(st.text(max_size=6) | st.sampled_from(["16 GB", "MB397G/A", "960-000254", "EOS-70D"]), max_size=6).map(
    " ".join
)


def cosine(left: str, right: str) -> float:
    made = ENCODER.encode([{"title": left}, {"title": right}])
    assert made.present.all()
    return float(made.vectors[0] @ made.vectors[1])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Logitech QuickCam Vision Pro - 960-000254", ["960000254"]),
        ("Apple DVDRW Drive - MB397G/A", ["mb397ga", "mb397"]),
        ("Samsung LN19A450 19' LCD", ["ln19a450"]),
        ("Canon CLI-221YEL", ["cli221yel", "cli221"]),
        ("Voyager (CMFSL3X2-256GB)", ["cmfsl3x2256gb", "cmfsl3"]),
        ("4006381333931", ["4006381333931"]),
        ("978-0-306-40615-7", ["9780306406157"]),
        ("00036000291452 036000291452", ["36000291452", "36000291452"]),
        ("00000000", ["00000000"]),
        ("\uff2d\uff22\uff13\uff19\uff17", ["mb397"]),
        ("6-disc MP3/WMA/AAC changer, DDR4, 1080p, 24hr, 4th, 70D", []),
        ("vol 2, 1080, 16 GB, 19 inch", []),
        ("wonderful", []),
        ("", []),
    ],
)
def test_what_is_a_code(text: str, found: list[str]) -> None:
    assert [code for code, _ in codes(text)] == found


def test_long_codes_weigh_more() -> None:
    weights = dict(codes("ab12c 960-000254"))
    assert weights["960000254"] > weights["ab12c"]


def test_codes_that_agree_are_near_however_they_are_written() -> None:
    assert cosine("Drive MB397G/A new", "apple mb397ga") == pytest.approx(1)
    assert cosine("Drive MB397G/A", "Drive NC398Z/B") < 0.3
    assert cosine("HP 793703-B21 SC", "HP 793703-B21 with tray 651687-001") > 0.5
    assert 0.1 < cosine("Canon CLI-221YEL", "Canon CLI-221BLK") < 0.4, "another colour of the same"


def test_a_field_of_its_own_holds_a_code_too() -> None:
    rows: list[dict[str, FieldValue]] = [
        {"title": "Pens 4006381333931"},
        {"gtin": "4006381333931"},
        {"gtin": 4006381333931.0},
    ]
    made = ENCODER.encode(rows)
    assert made.vectors[0] @ made.vectors[1] == pytest.approx(1)
    assert made.vectors[0] @ made.vectors[2] == pytest.approx(1)


def test_a_row_that_names_none_is_absent() -> None:
    made = ENCODER.encode([{"title": "a fine table"}, {}, {"title": "MB397G/A"}])
    assert made.present.tolist() == [False, False, True]
    assert not made.vectors[:2].any()


@given(st.lists(st.fixed_dictionaries({}, optional={"title": TEXTS, "gtin": st.text(max_size=20)}), max_size=6))
def test_rows_are_unit_or_absent_and_do_not_depend_on_each_other(rows: list[dict[str, FieldValue]]) -> None:
    made = ENCODER.encode(rows)
    assert made.vectors.shape == (len(rows), ENCODER.dim)
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), made.present, atol=1e-5)
    for i, row in enumerate(rows):
        assert np.array_equal(ENCODER.encode([row]).vectors[0], made.vectors[i])


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert all(code and weight > 0 for code, weight in codes(text))
    assert all(value > 0 for _, value in quantities(text))


@pytest.mark.parametrize("text", ["9" * 100_000, "1," * 50_000, "1 x " * 25_000, "a12-" * 30_000, "x" * 100_000])
def test_long_texts_are_cut(text: str) -> None:
    assert len(list(codes(text))) <= 1_000
    assert len(list(quantities(text))) <= 1_000


def test_the_fingerprint_names_everything_that_changes_the_numbers() -> None:
    made = [
        ENCODER.fingerprint,
        CodesEncoder(["title"], 128, KEY).fingerprint,
        CodesEncoder(["title", "gtin"], 64, KEY).fingerprint,
        CodesEncoder(["title", "gtin"], 128, KEY[::-1]).fingerprint,
    ]
    assert len(set(made)) == len(made)
    assert CodesEncoder(["title", "gtin"], 128, KEY).fingerprint == ENCODER.fingerprint


def test_vectors_under_different_keys_are_unrelated() -> None:
    other = CodesEncoder(["title"], 128, KEY[::-1])
    row: list[dict[str, FieldValue]] = [{"title": "MB397G/A 960-000254"}]
    assert abs(float(ENCODER.encode(row).vectors[0] @ other.encode(row).vectors[0])) < 0.5
