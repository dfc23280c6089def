"""The secret rotation: what it keeps, and what it takes away."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.batch import MemoryPipeline
from consumer.decode import decode
from consumer.encode import EncoderSet
from consumer.errors import RejectedError, SettingsError
from consumer.evaluation import EventView
from consumer.records import Floats, Outgoing, Record
from consumer.rotation import Rotation, orthogonal
from consumer.settings import load_settings
from consumer.simulate import signups
from consumer.vectors import pack_vector, unpack
from tests.factories import NOW_MS, encoder_set, message, person_profile, signup

KEYS = st.binary(min_size=1, max_size=40)
DIMS = st.integers(1, 48)
HALF = 2e-3
"""What float16 leaves of a cosine."""


def unit_rows(seed: int, rows: int, dim: int) -> Floats:
    drawn = np.random.default_rng(seed).standard_normal((rows, dim))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@given(KEYS, DIMS)
def test_the_matrix_is_orthogonal_and_the_same_every_time(key: bytes, dim: int) -> None:
    matrix = orthogonal(key, "name", dim)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dim), atol=1e-12)
    assert np.array_equal(matrix, orthogonal(key, "name", dim))


@given(KEYS, DIMS, st.integers(0, 2**32))
def test_inner_products_stay(key: bytes, dim: int, seed: int) -> None:
    rows = unit_rows(seed, 6, dim)
    rows[0] = 0
    turned = Rotation(key, {"a": dim}).turn("a", rows)
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)
    assert not turned[0].any(), "what is absent stays absent"


@given(KEYS, KEYS, st.integers(0, 2**32))
@settings(max_examples=10)
def test_two_keys_never_match(one: bytes, other: bytes, seed: int) -> None:
    if one == other:
        return
    rows = unit_rows(seed, 20, 96)
    first, second = Rotation(one, {"a": 96}), Rotation(other, {"a": 96})
    assert first.fingerprint != second.fingerprint
    across = np.sum(first.turn("a", rows) * second.turn("a", rows), axis=1)
    # of the same record under two keys: 1 without a key, and with two 0 give or take 1 / sqrt(96)
    assert abs(across).max() < 0.6
    assert abs(across.mean()) < 0.4


def test_modalities_do_not_share_a_matrix() -> None:
    rotation = Rotation(b"k", {"a": 64, "b": 64, "c": 65})
    assert abs(orthogonal(b"k", "a", 64) - orthogonal(b"k", "b", 64)).max() > 0.1
    assert rotation.turn("c", np.eye(65, dtype=np.float32)).shape == (65, 65)


def test_the_numbers_of_a_key_are_what_they_were() -> None:
    """Others would make every vector of a deployment unreadable to it."""
    expected = [[-0.0848, -0.3218, 0.943], [-0.8536, -0.4647, -0.2353], [-0.514, 0.8249, 0.2353]]
    np.testing.assert_allclose(orthogonal(b"a key", "name", 3), expected, atol=1e-4)
    assert abs(orthogonal(b"a key", "name", 1)).tolist() == [[1.0]]


def test_directions_are_spread_evenly() -> None:
    """The first row of matrices of many keys has no preferred direction."""
    rows = np.array([orthogonal(n.to_bytes(2), "a", 3)[0] for n in range(2000)])
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(3) / 3, atol=0.04)


def turned_set(key: bytes) -> EncoderSet:
    plain = encoder_set()
    return EncoderSet(plain.profile, plain.encoders, Rotation(key, {n: e.dim for n, e in plain.encoders.items()}))


def records(count: int) -> list[Record]:
    made = [decode(message(item.value, item.id), person_profile()) for item in signups(count, 5)]
    return [record for record in made if isinstance(record, Record)]


def test_vectors_that_travel_keep_every_similarity() -> None:
    plain, turned = encoder_set(), turned_set(b"secret")
    before, after = (np.array([v.values for v in made.encode(records(80))], np.float32) for made in (plain, turned))
    assert abs(before - after).max() > 0.1
    layout = plain.layout
    for row in range(80):
        first, second = (layout.cosines(np.broadcast_to(v[row], v.shape), v) for v in (before, after))
        np.testing.assert_allclose(first, second, atol=HALF)
    assert [v.mask for v in plain.encode(records(80))] == [v.mask for v in turned.encode(records(80))]


def test_vectors_of_another_key_are_refused() -> None:
    one, other = turned_set(b"one"), turned_set(b"other")
    assert len({one.fingerprint, other.fingerprint, encoder_set().fingerprint, turned_set(b"one").fingerprint}) == 3
    record = decode(message(signup()), one.profile)
    assert isinstance(record, Record)
    sent = pack_vector(one.encode([record])[0], "vectors.person", 0)
    with pytest.raises(RejectedError, match="vector of models"):
        unpack(message(sent.value, sent.key, headers=sent.headers), other.fingerprint, other.layout.dim)


def clusters(encoders: EncoderSet) -> set[frozenset[str]]:
    """What a subscriber of the events of 500 signups knows."""
    chosen = load_settings()
    pipeline = MemoryPipeline(chosen, encoders)
    pipeline.feed(
        [
            Outgoing("persons", item.id.encode(), orjson.dumps(item.value), {}, None, NOW_MS + n)
            for n, item in enumerate(signups(500, 11))
        ]
    )
    view = EventView()
    for event in pipeline.drain(chosen.topics.events):
        view.apply(orjson.loads(event))
    return {frozenset(members) for members in view.clusters.values()}


def test_the_whole_stream_decides_alike_with_and_without_a_key() -> None:
    plain = clusters(encoder_set())
    assert len(plain) > 20
    assert clusters(turned_set(b"secret")) == plain


def test_a_key_too_short_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("privacy: {rotation_key: zq-short}\n")
    with pytest.raises(SettingsError, match=r"privacy\.rotation_key") as raised:
        load_settings(file)
    assert "zq-short" not in str(raised.value)
    file.write_text("privacy: {rotation_key: zq-long-enough-to-be-a-key}\n")
    assert "zq-long" not in repr(load_settings(file))
