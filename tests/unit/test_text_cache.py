"""The cache of the text encoders: the same vectors, fewer questions."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.subword_encoder import SubwordEncoder
from consumer.adapters.text_cache import TextCache
from consumer.adapters.texts import MAX_ROWS, batches
from consumer.metrics import METRICS
from consumer.records import Embeddings

MODELS = Path(__file__).parents[2] / "models" / "onnx"
DIM = 4
TEXTS = st.text("ab", max_size=3)


class Asked:
    """An encoder that remembers what it was asked. A text that begins with `b` is absent."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Embeddings:
        self.texts += texts
        return vectors_of(texts)


def vectors_of(texts: Sequence[str]) -> Embeddings:
    present = np.array([bool(text) and text[0] != "b" for text in texts], np.bool_)
    digests = [hashlib.blake2b(text.encode(), digest_size=4 * DIM).digest() for text in texts]
    vectors = np.array([np.frombuffer(d, np.uint32).astype(np.float32) for d in digests], np.float32)
    return Embeddings(vectors.reshape(-1, DIM) * present[:, None], present)


@given(st.lists(st.lists(TEXTS, max_size=8), max_size=8), st.integers(0, 12))
def test_a_cache_of_any_size_changes_no_bit(asked: list[list[str]], entries: int) -> None:
    cache, encoder = TextCache(entries, DIM), Asked()
    for texts in asked:
        found, wanted = cache.encode(texts, encoder), vectors_of(texts)
        assert np.array_equal(found.vectors, wanted.vectors)
        assert np.array_equal(found.present, wanted.present)
        assert len(cache) <= entries
    assert "" not in encoder.texts


@given(st.lists(st.lists(TEXTS, max_size=8), max_size=8))
def test_with_room_for_all_each_text_is_asked_once(asked: list[list[str]]) -> None:
    cache, encoder = TextCache(100, DIM), Asked()
    for texts in asked:
        cache.encode(texts, encoder)
    assert sorted(encoder.texts) == sorted({text for texts in asked for text in texts if text})


def test_the_one_not_used_for_longest_goes_first() -> None:
    cache, encoder = TextCache(2, DIM), Asked()
    for text in ("a", "aa", "a", "ab", "a", "aa"):
        cache.encode([text], encoder)
    assert encoder.texts == ["a", "aa", "ab", "aa"]


def test_what_is_forgotten_is_overwritten_and_asked_again() -> None:
    cache, encoder = TextCache(2, DIM), Asked()
    cache.encode(["a", "aa"], encoder)
    assert cache._vectors.any()
    cache.forget()
    assert len(cache) == 0
    assert not cache._vectors.any()
    assert not cache._present.any()
    cache.encode(["a"], encoder)
    assert encoder.texts == ["a", "aa", "a"]


def test_no_text_is_kept() -> None:
    cache = TextCache(2, DIM)
    cache.encode(["aab"], vectors_of)
    [key] = cache._slots
    assert b"aab" not in key
    assert list(TextCache(2, DIM)._slots) != [key]
    assert TextCache(2, DIM)._digest("aab") != key, "the digest is keyed by chance"


@pytest.mark.parametrize(("kind", "model"), [(OnnxTextEncoder, "all-minilm-l6-v2"), (SubwordEncoder, "subword")])
def test_encoders_give_cached_vectors_bit_for_bit(
    kind: type[OnnxTextEncoder] | type[SubwordEncoder], model: str
) -> None:
    rows = [{"name": "Ann Lee"}, {}, {"name": "?!"}, {"name": "Bo Öst"}, {"name": "Ann Lee"}]
    encoder = kind(MODELS / model, ["name"], providers=[CPU], cache_entries=10)
    first, hits = encoder.encode(rows), counted("hit")
    again = encoder.encode(rows[::-1])
    assert np.array_equal(again.vectors, first.vectors[::-1])
    assert np.array_equal(again.present, first.present[::-1])
    assert counted("hit") - hits == 4
    encoder.forget()
    misses = counted("miss")
    encoder.encode(rows)
    assert counted("miss") - misses == 3


def counted(outcome: str) -> float:
    return METRICS.registry.get_sample_value("dedup_cached_texts_total", {"outcome": outcome}) or 0.0


@given(st.lists(st.integers(1, 40), max_size=600), st.integers(1, 400))
def test_batches_hold_every_row_in_order_within_budget_and_rows(lengths: list[int], budget: int) -> None:
    ordered = [(row, [0] * length) for row, length in enumerate(sorted(lengths))]
    made = list(batches(ordered, budget))
    assert [item for batch in made for item in batch] == ordered
    for batch in made:
        assert 1 <= len(batch) <= MAX_ROWS
        assert len(batch) == 1 or len(batch) * len(batch[-1][1]) <= budget
