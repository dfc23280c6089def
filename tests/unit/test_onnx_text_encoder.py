"""The text encoder over the model that is shipped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.onnx_session import CPU, CUDA
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.texts import text_of
from consumer.errors import ModelError

MODEL = Path(__file__).parents[2] / "models" / "onnx" / "all-minilm-l6-v2"
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
    {"name": "a very long name " * 30, "city": "Rome"},
]


@pytest.fixture(scope="module")
def encoder() -> OnnxTextEncoder:
    return OnnxTextEncoder(MODEL, FIELDS, providers=[CPU])


def test_vectors_are_unit_rows(encoder: OnnxTextEncoder) -> None:
    embeddings = encoder.encode(ROWS)
    assert embeddings.vectors.shape == (len(ROWS), encoder.dim)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.present.all()
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=TOLERANCE)


def test_the_shipped_model_says_what_it_said(encoder: OnnxTextEncoder) -> None:
    """First four components, as they were when the model was exported."""
    canonical = [
        [-0.0451, -0.3958, 0.0859, -0.5032],
        [0.3748, 0.5123, -0.3607, -0.0871],
        [0.0301, 0.1822, 0.1585, -0.2623],
    ]
    vectors = encoder.encode([ROWS[0], ROWS[3], ROWS[4]]).vectors
    np.testing.assert_allclose(vectors[:, :4], canonical, atol=2e-4)


def test_a_batch_equals_its_rows_alone(encoder: OnnxTextEncoder) -> None:
    together = encoder.encode(ROWS * 20).vectors
    alone = np.concatenate([encoder.encode([row]).vectors for row in ROWS] * 20)
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_the_token_budget_changes_nothing(encoder: OnnxTextEncoder) -> None:
    tight = OnnxTextEncoder(MODEL, FIELDS, providers=[CPU], batch_tokens=1, threads=2)
    np.testing.assert_allclose(tight.encode(ROWS).vectors, encoder.encode(ROWS).vectors, atol=TOLERANCE)
    assert tight.fingerprint == encoder.fingerprint


@settings(max_examples=15)
@given(order=st.permutations(range(len(ROWS))))
def test_order_is_kept(encoder: OnnxTextEncoder, order: list[int]) -> None:
    expected = encoder.encode(ROWS).vectors[order]
    np.testing.assert_allclose(encoder.encode([ROWS[row] for row in order]).vectors, expected, atol=TOLERANCE)


def test_a_row_without_text_is_absent(encoder: OnnxTextEncoder) -> None:
    rows = [{}, {"name": ""}, {"name": " \n"}, {"name": "\0\0"}, {"country": "GB"}, {"name": "Ann Lee"}]
    embeddings = encoder.encode(rows)
    assert embeddings.present.tolist() == [False] * 5 + [True]
    assert not embeddings.vectors[:5].any()
    assert encoder.encode([]).vectors.shape == (0, encoder.dim)


def test_strangers_in_an_unreadable_script_are_not_duplicates(encoder: OnnxTextEncoder) -> None:
    rows = [{"name": "ธนนนท์ นะวะมันดร", "city": "New York City"}, {"name": "กมลวรรณ ศรีสุข", "city": "New York City"}]
    assert not encoder.encode(rows).present.any()


def test_a_huge_text_is_cut_before_it_is_read(encoder: OnnxTextEncoder) -> None:
    huge = {"name": "lorem ipsum " * 1_000_000}
    assert len(text_of(huge, FIELDS)) <= 2_000
    assert encoder.encode([huge]).present.all()


@settings(max_examples=60)
@given(
    name=st.text(st.characters(), max_size=40) | st.floats() | st.lists(st.text(max_size=5), max_size=5),
    city=st.text(st.characters(categories=["Cs", "Cc", "Co", "So", "Lo"]), max_size=20),
)
def test_no_value_raises(encoder: OnnxTextEncoder, name: str | float | list[str], city: str) -> None:
    embeddings = encoder.encode([{"name": name, "city": city}])
    norm = float(np.linalg.norm(embeddings.vectors[0]))
    assert norm == pytest.approx(1.0 if embeddings.present[0] else 0.0, abs=TOLERANCE)


def test_two_halves_of_a_surrogate_pair_become_one_character() -> None:
    assert text_of({"name": "a\ud83d\ude42b\ud83d"}, FIELDS) == "a\U0001f642b\ufffd"


def test_typos_are_nearer_than_strangers(encoder: OnnxTextEncoder) -> None:
    vectors = encoder.encode(ROWS).vectors
    similarity = vectors @ vectors[0]
    assert similarity[1:].argmax() == 0


def test_the_fingerprint_names_fields_and_model(encoder: OnnxTextEncoder) -> None:
    swapped = OnnxTextEncoder(MODEL, FIELDS[::-1], providers=[CPU])
    assert swapped.fingerprint != encoder.fingerprint


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_model_that_was_tampered_with_is_refused(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}.*SHA-256"):
        OnnxTextEncoder(folder, FIELDS, providers=[CPU])


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"spec\.json: cannot be read"):
        OnnxTextEncoder(tmp_path, FIELDS)
    (tmp_path / "spec.json").write_text(json.dumps({"dim": 64}))
    with pytest.raises(ModelError, match="not the spec of a text encoder"):
        OnnxTextEncoder(tmp_path, FIELDS)


def test_a_provider_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="NoSuchProvider: not in this build"):
        OnnxTextEncoder(MODEL, FIELDS, providers=["NoSuchProvider"])


def test_the_choice_of_provider_is_right_and_quiet() -> None:
    """In a process of its own: the runtime writes its warnings past Python, to the file descriptor."""
    program = (
        "import sys; from pathlib import Path; from consumer.adapters.onnx_text_encoder import OnnxTextEncoder;"
        "print(OnnxTextEncoder(Path(sys.argv[1]), ['name']).provider)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(MODEL)],
        capture_output=True,
        text=True,
        check=True,
        cwd=MODEL.parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.stdout.strip() in {CPU, CUDA}
    assert done.stderr == ""
