"""Our own text encoder over the model that is shipped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.onnx_session import CPU
from consumer.adapters.subword_encoder import SubwordEncoder, is_subword
from consumer.adapters.subword_tokens import IDS, MAX_IDS, features, features_of, voice
from consumer.errors import ModelError

MODELS = Path(__file__).parents[2] / "models" / "onnx"
MODEL = MODELS / "subword"
FIELDS = ("name", "city")

# Of float32 arithmetic in another order; a tenth of the smallest difference that a cosine threshold could see.
TOLERANCE = 1e-5

ROWS = [
    {"name": "Ann Lee", "city": "Leeds"},
    {"name": "Anne Lee", "city": "Leeds"},
    {"name": "Günther Müßig", "city": "Köln"},
    {"name": "Ольга Петрова", "city": "Казань"},
    {"name": "X"},
    {"city": "Santa Cruz de Tenerife"},
    {"name": "a very long name 12-34 " * 30, "city": "Rome"},
]


@pytest.fixture(scope="module")
def encoder() -> SubwordEncoder:
    return SubwordEncoder(MODEL, FIELDS, providers=[CPU])


def similarity(encoder: SubwordEncoder, *names: str) -> float:
    first, second = encoder.encode([{"name": name} for name in names]).vectors
    return float(first @ second)


def test_vectors_are_unit_rows(encoder: SubwordEncoder) -> None:
    embeddings = encoder.encode(ROWS)
    assert embeddings.vectors.shape == (len(ROWS), encoder.dim)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.present.all()
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=TOLERANCE)


def test_the_shipped_model_says_what_it_said(encoder: SubwordEncoder) -> None:
    """First four components, as they were when the model was exported."""
    canonical = [
        [0.0776, -0.0104, -0.0757, 0.0385],
        [-0.1117, 0.0124, 0.0403, 0.0899],
        [-0.0469, -0.1198, -0.0373, -0.0691],
    ]
    vectors = encoder.encode([ROWS[0], ROWS[3], ROWS[4]]).vectors
    np.testing.assert_allclose(vectors[:, :4], canonical, atol=2e-4)


def test_a_batch_equals_its_rows_alone(encoder: SubwordEncoder) -> None:
    together = encoder.encode(ROWS * 20).vectors
    alone = np.concatenate([encoder.encode([row]).vectors for row in ROWS] * 20)
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_the_budget_of_a_batch_changes_nothing(encoder: SubwordEncoder) -> None:
    tight = SubwordEncoder(MODEL, FIELDS, providers=[CPU], batch_ids=1, threads=2)
    np.testing.assert_allclose(tight.encode(ROWS).vectors, encoder.encode(ROWS).vectors, atol=TOLERANCE)
    assert tight.fingerprint == encoder.fingerprint


@settings(max_examples=15)
@given(order=st.permutations(range(len(ROWS))))
def test_order_is_kept(encoder: SubwordEncoder, order: list[int]) -> None:
    expected = encoder.encode(ROWS).vectors[order]
    np.testing.assert_allclose(encoder.encode([ROWS[row] for row in order]).vectors, expected, atol=TOLERANCE)


def test_a_row_without_text_is_absent(encoder: SubwordEncoder) -> None:
    rows = [{}, {"name": ""}, {"name": " \n"}, {"name": "\0 ☃ -"}, {"country": "GB"}, {"name": "Ann Lee"}]
    embeddings = encoder.encode(rows)
    assert embeddings.present.tolist() == [False] * 5 + [True]
    assert not embeddings.vectors[:5].any()
    assert encoder.encode([]).vectors.shape == (0, encoder.dim)


@settings(max_examples=60)
@given(
    name=st.text(st.characters(), max_size=40) | st.floats() | st.lists(st.text(max_size=5), max_size=5),
    city=st.text(st.characters(categories=["Cs", "Cc", "Co", "So", "Lo"]), max_size=20),
)
def test_no_value_raises(encoder: SubwordEncoder, name: str | float | list[str], city: str) -> None:
    embeddings = encoder.encode([{"name": name, "city": city}])
    norm = float(np.linalg.norm(embeddings.vectors[0]))
    assert norm == pytest.approx(1.0 if embeddings.present[0] else 0.0, abs=TOLERANCE)


@given(st.text(st.characters(), max_size=200))
def test_features_are_distinct_and_in_range(text: str) -> None:
    found = features(text)
    assert len(found) == len(set(found)) <= MAX_IDS
    assert all(0 <= feature < 2 * IDS for feature in found)


def test_a_huge_text_is_cut(encoder: SubwordEncoder) -> None:
    assert len(features("lorem12 ipsum34 " * 100_000)) <= MAX_IDS
    assert encoder.encode([{"name": "lorem ipsum " * 1_000_000}]).present.all()


@pytest.mark.parametrize(
    ("name", "same", "stranger"),
    [
        ("Ann Lee, Leeds", "Anne Lee, Leeds", "Tom Hardy, Leeds"),
        ("Stephen Bosworth", "스티븐 보즈워스", "로버트 호프먼"),
        ("Kim Young-hee", "김영희", "박민준"),
        ("Yeong Hui Gim", "김영희", "김민준"),
        ("Olga Petrova", "Ольга Петрова", "Иван Смирнов"),
        ("Wang Xiaoming", "王小明", "李建国"),
        ("Sato Takashi", "サトウ タカシ", "スズキ ケンジ"),
        ("Miriam Cohen", "מרים כהן", "דוד לוי"),
        ("Mohammed Karim", "محمد كريم", "أحمد سليم"),
        ("Günther Müßig", "GUNTHER MUSSIG", "Günther Schäfer"),
        ("Lumo X40 tent 80 GB", "tent lumo X-40 80GB", "Lumo X41 tent 60 GB"),
    ],
)
def test_the_same_is_nearer_than_a_stranger(encoder: SubwordEncoder, name: str, same: str, stranger: str) -> None:
    assert similarity(encoder, name, same) > similarity(encoder, name, stranger) + 0.1


def test_sounds_meet_across_scripts() -> None:
    assert voice("crasson") == voice("keulasong")
    assert voice("") == ""


@given(st.text(st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=12))
def test_what_follows_a_comma_has_the_same_features_apart(word: str) -> None:
    alone = features(word)
    after = [feature - IDS for feature in features(f"x, {word}") if feature >= IDS]
    assert after == alone[: len(after)]
    assert len(after) == min(len(alone), MAX_IDS - len(features("x,")))


def test_a_name_in_one_word_is_read_by_its_parts() -> None:
    whole = set(features("김영희"))
    assert whole & set(features("Young-hee"))
    assert len(whole & set(features("gim yeong hui"))) > len(whole & set(features("gimyeonghui"))) / 2


def test_without_codes_other_codes_make_no_difference(encoder: SubwordEncoder) -> None:
    words = SubwordEncoder(MODEL, FIELDS, codes=False, providers=[CPU])
    offers = "Rowenta kettle KE7200-41", "Rowenta kettle KE8300-52"
    assert similarity(words, *offers) > 0.8
    assert similarity(encoder, *offers) < 0.5
    assert words.fingerprint != encoder.fingerprint


@given(st.lists(st.text("abcé жя한국,- ", max_size=40), max_size=5))
def test_texts_without_digits_are_read_the_same_without_codes(texts: list[str]) -> None:
    for whole, words in zip(features_of(texts), features_of(texts, codes=False), strict=True):
        np.testing.assert_array_equal(whole, words)


def test_the_fingerprint_names_fields_and_model(encoder: SubwordEncoder) -> None:
    assert SubwordEncoder(MODEL, FIELDS[::-1], providers=[CPU]).fingerprint != encoder.fingerprint


def test_a_model_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx.*SHA-256"):
        SubwordEncoder(folder, FIELDS, providers=[CPU])


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"spec\.json: cannot be read"):
        SubwordEncoder(tmp_path, FIELDS)
    (tmp_path / "spec.json").write_text(json.dumps({"dim": 64}))
    with pytest.raises(ModelError, match="not the spec of a subword encoder"):
        SubwordEncoder(tmp_path, FIELDS)


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    spec = json.loads((folder / "spec.json").read_text())
    spec["preprocessing"]["features"] = "subword-0"
    (folder / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match="made for features 'subword-0'"):
        SubwordEncoder(folder, FIELDS, providers=[CPU])


def test_the_kind_of_a_folder_is_in_its_spec(tmp_path: Path) -> None:
    assert is_subword(MODEL)
    assert not is_subword(MODELS / "all-minilm-l6-v2")
    assert not is_subword(tmp_path)
