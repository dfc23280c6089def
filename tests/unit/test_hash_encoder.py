"""A perceptual hash as a vector: the cosine of two is one less the share of bits that differ, twice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.hash_encoder import HashEncoder

ENCODER = HashEncoder("image_phash", 64)
HASHES = st.integers(1, 2**64 - 2)


@given(HASHES, HASHES)
def test_the_cosine_counts_the_bits_that_differ(left: int, right: int) -> None:
    made = ENCODER.encode([{"image_phash": f"{number:016x}"} for number in (left, right)])
    assert made.present.all()
    assert float(made.vectors[0] @ made.vectors[1]) == pytest.approx(1 - 2 * (left ^ right).bit_count() / 64, abs=1e-6)


@pytest.mark.parametrize("written", ["BF84CC3BD1683E81", "0xbf84cc3bd1683e81", " bf84cc3bd1683e81\n"])
def test_ways_of_writing_one_hash(written: str) -> None:
    plain = ENCODER.encode([{"image_phash": "bf84cc3bd1683e81"}])
    assert np.array_equal(ENCODER.encode([{"image_phash": written}]).vectors, plain.vectors)


@pytest.mark.parametrize("value", [None, "", "bf84", "bf84cc3bd1683e8x", "0" * 16, "f" * 16, "0" * 32, 7.0, ["a"]])
def test_what_is_no_hash_is_absent(value: Any) -> None:
    made = ENCODER.encode([{} if value is None else {"image_phash": value}])
    assert not made.present.any()
    assert not made.vectors.any()


@given(st.lists(st.none() | HASHES, max_size=6))
def test_rows_are_unit_or_absent_and_do_not_depend_on_each_other(hashes: list[int | None]) -> None:
    rows = [{} if number is None else {"image_phash": f"{number:016x}"} for number in hashes]
    made = ENCODER.encode(rows)
    assert made.vectors.shape == (len(rows), ENCODER.dim)
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), made.present, atol=1e-5)
    for i, row in enumerate(rows):
        assert np.array_equal(ENCODER.encode([row]).vectors[0], made.vectors[i])


def test_the_fingerprint_names_field_and_length() -> None:
    others = [HashEncoder("other", 64), HashEncoder("image_phash", 128)]
    assert len({ENCODER.fingerprint, *(other.fingerprint for other in others)}) == 3
