"""Only the ratio of two prices counts: equal is 1, a doubling about 0, and nothing farther comes near again."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.price_encoder import MAX_PRICE, MIN_PRICE, PriceEncoder
from consumer.records import FieldValue

ENCODER = PriceEncoder("price")
PRICES = st.floats(MIN_PRICE, MAX_PRICE)


def cosine(left: float, right: float) -> float:
    made = ENCODER.encode([{"price": left}, {"price": right}])
    assert made.present.all()
    return float(made.vectors[0] @ made.vectors[1])


@pytest.mark.parametrize(
    ("ratio", "wanted"),
    [(1, 1), (1.1, 0.98), (1.2, 0.92), (1.5, 0.64), (2, 0.11), (3, -0.51), (4, -0.65), (8, -0.21)],
)
def test_the_cosine_of_a_ratio(ratio: float, wanted: float) -> None:
    assert cosine(100, 100 * ratio) == pytest.approx(wanted, abs=0.015)


@given(PRICES, st.floats(2, MAX_PRICE / MIN_PRICE))
def test_beyond_a_doubling_nothing_is_near(price: float, ratio: float) -> None:
    if price * ratio <= MAX_PRICE:
        assert cosine(price, price * ratio) < 0.25


@given(PRICES, PRICES, st.floats(0.5, 2))
def test_the_currency_does_not_matter(left: float, right: float, rate: float) -> None:
    if all(MIN_PRICE <= price * rate <= MAX_PRICE for price in (left, right)):
        assert cosine(left * rate, right * rate) == pytest.approx(cosine(left, right), abs=1e-4)


@pytest.mark.parametrize("price", [0.0, -5.0, 1e-9, 1e12, math.inf, math.nan, "12", None])
def test_what_is_no_price_is_absent(price: FieldValue | None) -> None:
    made = ENCODER.encode([{} if price is None else {"price": price}])
    assert not made.present.any()
    assert not made.vectors.any()


@given(st.lists(st.none() | PRICES, max_size=6))
def test_rows_are_unit_or_absent_and_do_not_depend_on_each_other(prices: list[float | None]) -> None:
    rows = [{} if price is None else {"price": price} for price in prices]
    made = ENCODER.encode(rows)
    assert made.vectors.shape == (len(rows), ENCODER.dim)
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), made.present, atol=1e-5)
    for i, row in enumerate(rows):
        assert np.array_equal(ENCODER.encode([row]).vectors[0], made.vectors[i])


def test_the_fingerprint_names_the_field() -> None:
    assert ENCODER.fingerprint == PriceEncoder("price").fingerprint != PriceEncoder("cost").fingerprint
