"""Folders that were exported before are reduced on a user's data: new folders that the consumer reads like the old."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consumer.adapters.allow_list import AllowList
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.adapters.onnx_image_encoder import OnnxImageEncoder
from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.adapters.subword_encoder import SubwordEncoder
from consumer.errors import ModelError
from consumer.records import Embeddings
from export.__main__ import main
from tests.export import tiny_models
from tests.services import ROOT

NEEDED = ("torch", "transformers", "onnx", "onnxscript")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and transformers warn of each other
]

SHIPPED = ROOT / "models" / "onnx"
DIM = 12


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(tiny_models.texts(200)))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.photos(tmp_path_factory.mktemp("photos"))


def reduce(model: Path, out: Path, *more: str) -> int:
    asked = ["--model", str(model), "--name", "small", "--out", str(out), "--dim", str(DIM), "--check", "40"]
    return main(["pca", *asked, "--min-retained", "0.1", *more])


def text(folder: Path) -> Embeddings:
    encoder = OnnxTextEncoder(folder, ["text"], providers=[CPU])
    return encoder.encode([{"text": line} for line in tiny_models.texts(30, 9)])


def subword(folder: Path) -> Embeddings:
    encoder = SubwordEncoder(folder, ["text"], providers=[CPU])
    return encoder.encode([{"text": line} for line in tiny_models.texts(30, 9)])


def expected(whole: Embeddings, fitted_on: Embeddings) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The same PCA by a plain singular value decomposition; its directions have no sign."""
    mean = fitted_on.vectors.mean(axis=0, dtype=np.float64)
    directions = np.linalg.svd(fitted_on.vectors - mean, full_matrices=False)[2][:DIM]
    low = (whole.vectors - mean) @ directions.T
    found: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = low / np.linalg.norm(low, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize(
    ("name", "encode", "kind"), [("all-minilm-l6-v2", text, OnnxTextEncoder), ("subword", subword, SubwordEncoder)]
)
def test_a_text_model_is_reduced(
    name: str, encode: Callable[[Path], Embeddings], kind: type, lines: Path, tmp_path: Path
) -> None:
    assert reduce(SHIPPED / name, tmp_path, "--texts", str(lines), "--variant", "fp32") == 0
    small = encode(tmp_path / "small")
    assert small.vectors.shape == (30, DIM)
    np.testing.assert_allclose(np.linalg.norm(small.vectors, axis=1), 1, atol=1e-5)
    every = lines.read_text().splitlines()
    fitted_on = kind(SHIPPED / name, ["text"], providers=[CPU]).encode(
        [{"text": line} for number, line in enumerate(every) if number % 5]
    )
    truth = expected(encode(SHIPPED / name), fitted_on)
    np.testing.assert_allclose(small.vectors @ small.vectors.T, truth @ truth.T, atol=1e-3)
    spec = json.loads((tmp_path / "small" / "spec.json").read_text())
    assert (spec["dim"], spec["reduced_from"]["name"]) == (DIM, name)
    assert 0.1 <= spec["pca"]["retained_top10"] <= 1
    assert spec["parity"]["cosine_min"] > 0.999
    assert str(lines.parent) not in (tmp_path / "small" / "spec.json").read_text()
    assert "Changed again" in (tmp_path / "small" / "NOTICE").read_text()


def test_an_image_model_is_reduced_twice(photos: Path, tmp_path: Path) -> None:
    source = tiny_models.vit(tmp_path / "source")
    asked = ["--source", "a random model", "--licence", "MIT", "--dim", "0", "--variant", "fp32"]
    pictures = ["--photos", str(photos)]
    assert main(["image", "--model", str(source), "--name", "whole", "--out", str(tmp_path), *asked, *pictures]) == 0
    assert reduce(tmp_path / "whole", tmp_path, *pictures) == 0
    assert reduce(tmp_path / "small", tmp_path, *pictures, "--dim", "6", "--name", "smaller") == 0
    store = ImageStore(AllowList([]), FetchLimits(1_000_000, 1.0, 1))
    rows = [{"image": path.read_bytes()} for path in sorted(photos.iterdir())[:10]]
    made = OnnxImageEncoder(tmp_path / "smaller", ["image"], store, providers=[CPU]).encode(rows)
    assert made.vectors.shape == (10, 6)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    spec = json.loads((tmp_path / "smaller" / "spec.json").read_text())
    assert (spec["reduced_from"]["name"], spec["source"]["licence"]) == ("small", "MIT")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--min-retained", "1.1"], "--min-retained"),
        (["--dim", "4096"], "take fewer"),
        (["--min-cosine", "1.1"], "int8: mean cosine"),
        (["--texts", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_will_not_do_is_refused(
    more: list[str], said: str, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reduce(SHIPPED / "subword", tmp_path, "--texts", str(lines), *more) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_users_data_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reduce(SHIPPED / "subword", tmp_path) == 1
    assert "--texts FILE is needed" in capsys.readouterr().err


def test_a_changed_folder_is_refused(lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("spec.json", "NOTICE"):
        (folder / name).write_bytes((SHIPPED / "subword" / name).read_bytes())
    (folder / "model.onnx").write_bytes(b"another")
    assert reduce(folder, tmp_path, "--texts", str(lines)) == 1
    assert "SHA-256" in capsys.readouterr().err
    with pytest.raises(ModelError, match="SHA-256"):
        SubwordEncoder(folder, ["text"], providers=[CPU])
