"""Laws of the lexical encoder."""

import hashlib
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.lexical_encoder import LexicalEncoder, fold
from consumer.errors import SettingsError
from consumer.records import Floats

KEY = hashlib.blake2b(b"test", digest_size=32).digest()
OTHER_KEY = hashlib.blake2b(b"another", digest_size=32).digest()
ENCODER = LexicalEncoder(["name"], 128, KEY)

# Surrogates included: JSON can carry a lone one.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


def encoded(*texts: str, encoder: LexicalEncoder = ENCODER) -> Floats:
    return encoder.encode([{"name": text} for text in texts]).vectors


def cosine(a: str, b: str, encoder: LexicalEncoder = ENCODER) -> float:
    rows = encoded(a, b, encoder=encoder)
    return float(rows[0] @ rows[1])


@given(st.lists(ANY_TEXT, max_size=12))
def test_batched_rows_are_bit_equal_to_single_ones(texts: list[str]) -> None:
    batch = ENCODER.encode([{"name": text} for text in texts])
    assert batch.vectors.shape == (len(texts), 128)
    for i, text in enumerate(texts):
        single = ENCODER.encode([{"name": text}])
        assert np.array_equal(batch.vectors[i], single.vectors[0])
        assert batch.present[i] == single.present[0]


@given(st.lists(ANY_TEXT, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(texts: list[str], random: Random) -> None:
    order = random.sample(range(len(texts)), len(texts))
    permuted = encoded(*[texts[i] for i in order])
    assert np.array_equal(permuted, encoded(*texts)[order])


@given(ANY_TEXT)
def test_rows_are_unit_where_present_and_zero_elsewhere(text: str) -> None:
    made = ENCODER.encode([{"name": text}])
    assert made.vectors.dtype == np.float32
    norm = float(np.linalg.norm(made.vectors[0]))
    assert norm == pytest.approx(1.0, abs=1e-5) if made.present[0] else norm == 0.0


@pytest.mark.parametrize("text", ["", "   ", "?!", "—", "🙂🙂", "\u0000"])
def test_a_text_without_letter_or_digit_is_absent(text: str) -> None:
    assert not ENCODER.encode([{"name": text}]).present[0]


def test_a_missing_field_and_an_empty_batch_are_absent() -> None:
    assert not ENCODER.encode([{}, {"city": "Ghent"}]).present.any()
    assert ENCODER.encode([]).vectors.shape == (0, 128)


@pytest.mark.parametrize(
    ("text", "near", "stranger"),
    [
        ("Katherine Johnson", "Catherine Jonson", "Mohammed Abdullah"),
        ("Katherine Johnson", "Johnson Katherine", "Kevin Jackson"),
        ("佐藤 花子", "佐藤 華子", "田中 太郎"),
        ("Мария Иванова", "Марья Иванова", "Сергей Петров"),
        ("Canon EOS 5D Mark IV", "Canon EOS-5D MarkIV body", "Nikon D850 body"),
    ],
)
def test_a_typo_is_closer_than_a_stranger(text: str, near: str, stranger: str) -> None:
    assert cosine(text, near) > 0.45
    assert cosine(text, near) > cosine(text, stranger) + 0.2


def test_strangers_are_far_apart_on_average() -> None:
    # Not at 0: single letters are shared by everybody.
    names = ["Ada Lovelace", "Grigori Perelman", "Wu Zetian", "Olumide Bankole", "Frida Kahlo", "Ivo Hrvat"]
    rows = encoded(*names)
    off_diagonal = (rows @ rows.T)[np.triu_indices(len(names), 1)]
    assert abs(float(off_diagonal.mean())) < 0.4


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("José Núñez", "JOSE NUNEZ"),
        ("O'Hara", "ohara"),
        ("\uff21\uff22\uff23\u3000\uff11\uff12\uff13", "abc 123"),
        ("Søren Kierkegård", "soren kierkegard"),
        ("Straße", "STRASSE"),
        ("Jean-Luc", "jean luc"),
        ("  two\twords\n", "two words"),
    ],
)
def test_spellings_that_fold_together_are_the_same(a: str, b: str) -> None:
    assert cosine(a, b) > 0.999


def test_signs_that_are_letters_are_not_folded_away() -> None:
    assert fold("कि") != fold("का")
    assert fold("が") != fold("か")
    assert fold("ที่") != fold("ที")
    assert fold("한국") == ["한국"]


@pytest.mark.filterwarnings("error")
def test_only_the_start_of_a_long_text_is_read() -> None:
    start = "word " * 200
    assert np.array_equal(encoded(start + "x" * 5_000_000)[0], encoded(start)[0])
    assert ENCODER.encode([{"name": "字" * 1_000_000}]).present[0]


def test_another_key_gives_unrelated_vectors_and_another_fingerprint() -> None:
    other = LexicalEncoder(["name"], 128, OTHER_KEY)
    names = [f"{first} {last}" for first in ("Ada", "Ivo", "Wu", "Olu") for last in ("Byron", "Horvat", "Zetian")]
    under_both = np.einsum("ij,ij->i", encoded(*names), encoded(*names, encoder=other))
    assert np.abs(under_both).max() < 0.5
    assert abs(float(under_both.mean())) < 0.2
    assert other.fingerprint != ENCODER.fingerprint
    assert KEY.hex() not in ENCODER.fingerprint


def test_the_fingerprint_names_the_options_and_only_them() -> None:
    same = LexicalEncoder(["name"], 128, KEY)
    assert same.fingerprint == ENCODER.fingerprint
    changed = [
        LexicalEncoder(["title"], 128, KEY),
        LexicalEncoder(["name"], 64, KEY),
        LexicalEncoder(["name"], 128, KEY, words=0.0),
        LexicalEncoder(["name"], 128, KEY, digits=2.0),
    ]
    assert len({encoder.fingerprint for encoder in [*changed, same]}) == 5


def test_inner_products_approach_the_unprojected_ones_as_dim_grows() -> None:
    pairs = [("Maria Fernandez", "Marta Fernandes"), ("John Smith", "Jon Smyth"), ("Lille", "Lima")]
    wide = LexicalEncoder(["name"], 8_192, KEY)
    for a, b in pairs:
        assert abs(cosine(a, b) - cosine(a, b, wide)) < 0.3


def test_digits_can_count_for_more() -> None:
    plain, codes = LexicalEncoder(["name"], 512, KEY), LexicalEncoder(["name"], 512, KEY, digits=3.0)
    a, b = "hard drive 146gb 10k", "hard drive 300gb 15k"
    assert cosine(a, b, codes) < cosine(a, b, plain)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fields": []}, "fields"),
        ({"dim": 2}, "dim"),
        ({"key": b"short"}, "key"),
        ({"words": -1.0}, "words"),
    ],
)
def test_an_impossible_option_says_which(options: dict[str, object], named: str) -> None:
    arguments: dict[str, Any] = {"fields": ["name"], "dim": 64, "key": KEY, **options}
    with pytest.raises(SettingsError, match=named):
        LexicalEncoder(**arguments)
