"""The same amount draws together, however it is written; another amount of the same kind pushes apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.product_codes import quantities
from consumer.adapters.quantities_encoder import QuantitiesEncoder
from consumer.records import FieldValue
from tests.factories import KEY

ENCODER = QuantitiesEncoder(["title"], 256, KEY)
TEXTS = st.lists(
    st.text(max_size=6) | st.sampled_from(["16 GB", "x5", "6 x 330 ml", '19"', "1,000 mg", "vol 2", "4th", "0 W"]),
    max_size=6,
).map(" ".join)


def cosine(left: str, right: str) -> float:
    made = ENCODER.encode([{"title": left}, {"title": right}])
    assert made.present.all()
    return float(made.vectors[0] @ made.vectors[1])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("iPod nano 16 GB", "16GB"),
        ("16 GB", "16384 MB"),
        ("16-gb", "16 Gigabytes"),
        ("0.5 l", "500ml"),
        ("0,5 l", "50 cl"),
        ("1,000 g", "1 kg"),
        ("1.5KG", "1500 gram"),
        ("8 fl. oz", "8 FL OZ"),
        ('19" LCD', "19 inch"),
        ("19' LCD", "19-inches"),
        ("48.26 cm", "19 in"),
        ("2.4 GHz", "2400 mhz"),
        ("12 megapixel", "12MP"),
        ("x5", "pack of 5"),
        ("5 pcs", "5-pack"),
        ("set of 5", "isi 5"),
        ("6 x 330 ml", "330ml pack of 6"),
        ("6 \N{MULTIPLICATION SIGN} 330 ml", "6x330ml"),
        ("\uff11\uff16 \uff27\uff22", "16 gb"),
    ],
)
def test_the_same_amount_is_the_same_however_it_is_written(text: str, same: str) -> None:
    left, right = sorted(quantities(text)), sorted(quantities(same))
    assert [kind for kind, _ in left] == [kind for kind, _ in right] != []
    assert [value for _, value in left] == pytest.approx([value for _, value in right])
    assert cosine(text, same) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("16 GB", "32 GB"),
        ("16 GB", "64 GB"),
        ("x5", "x6"),
        ("iPhone 4", "iPhone 5"),
        ("vol 2", "vol 3"),
        ("4th", "5th"),
    ],
)
def test_another_amount_is_evidence_against(text: str, other: str) -> None:
    assert cosine(text, other) < 0.4


def test_a_contradiction_is_worse_than_silence() -> None:
    full = "Protein bar 50 g pack of 12"
    assert cosine(full, "Protein bar 50g x 12") == pytest.approx(1, abs=1e-3)
    assert cosine(full, "Protein bar 50 g") > cosine(full, "Protein bar 50 g pack of 24") + 0.2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4 in 1 table", {("", 4.0), ("", 1.0)}),
        ("5 mice, 3 grapes", {("", 5.0), ("", 3.0)}),
        ("4th 1080p", {("th", 4.0), ("p", 1080.0)}),
        ("CMFSL3X2-256GB", set()),
        ("0 GB, x0, 0", set()),
        ("a fine table", set()),
    ],
)
def test_numbers_without_a_unit(text: str, found: set[tuple[str, float]]) -> None:
    assert set(quantities(text)) == found


def test_a_row_that_names_none_is_absent() -> None:
    made = ENCODER.encode([{"title": "a fine table"}, {}, {"title": "0 GB"}, {"title": "16 GB"}])
    assert made.present.tolist() == [False, False, False, True]


@given(st.lists(st.fixed_dictionaries({}, optional={"title": TEXTS}), max_size=6))
def test_rows_are_unit_or_absent_and_do_not_depend_on_each_other(rows: list[dict[str, FieldValue]]) -> None:
    made = ENCODER.encode(rows)
    assert made.vectors.shape == (len(rows), ENCODER.dim)
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), made.present, atol=1e-5)
    for i, row in enumerate(rows):
        assert np.array_equal(ENCODER.encode([row]).vectors[0], made.vectors[i])


def test_the_fingerprint_names_everything_that_changes_the_numbers() -> None:
    made = [
        ENCODER.fingerprint,
        QuantitiesEncoder(["name"], 256, KEY).fingerprint,
        QuantitiesEncoder(["title"], 128, KEY).fingerprint,
        QuantitiesEncoder(["title"], 256, KEY[::-1]).fingerprint,
    ]
    assert len(set(made)) == len(made)
    assert QuantitiesEncoder(["title"], 256, KEY).fingerprint == ENCODER.fingerprint
