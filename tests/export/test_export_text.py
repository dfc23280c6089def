"""Tiny random encoders of every family go through the whole export: what comes out is what went in, or nothing does."""

import hashlib
import importlib
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from consumer.errors import ModelError
from export.__main__ import main
from tests.export import tiny_models

NEEDED = ("torch", "transformers", "sentence_transformers", "onnx", "onnxscript", "faker")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and transformers warn of each other
]

DIM, MAX_TOKENS = 8, 24
ROWS = ["ann lee, leeds", "a", "zephra k9 tent, " * 20, "tom hardy, york"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts to fit and to measure on, a text a line."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(tiny_models.texts(240)))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("source"))


def export(source: Path, out: Path, lines: Path | None, *more: str) -> int:
    sizes = ["--dim", str(DIM), "--max-tokens", str(MAX_TOKENS), "--fit-texts", "200", "--check-texts", "60"]
    sizes += ["--texts", str(lines)] if lines else []
    origin = ["--source", "a random model", "--licence", "Apache-2.0"]
    return main(["text", "--model", str(source), "--name", "tiny", "--out", str(out), *origin, *sizes, *more])


def encoded(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The vectors of ROWS, by the consumer's own encoder."""
    made = OnnxTextEncoder(folder, ["text"], providers=[CPU]).encode([{"text": text} for text in ROWS])
    assert made.present.all()
    return made.vectors


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on generated texts."""
    out = tmp_path_factory.mktemp("models")
    assert export(source, out, None, "--variant", "int8") == 0
    return out / "tiny"


def test_the_spec_describes_what_was_written(exported: Path, source: Path) -> None:
    spec = json.loads((exported / "spec.json").read_text())
    for name in ("model.onnx", "tokenizer.json"):
        assert spec["sha256"][name] == hashlib.sha256((exported / name).read_bytes()).hexdigest()
    assert (spec["dim"], spec["preprocessing"]["max_tokens"], spec["variant"]) == (DIM, MAX_TOKENS, "int8")
    assert spec["parity"]["cosine_mean"] > 0.99
    assert spec["parity"]["neighbours_top10"] > 0.9
    assert spec["parity"]["batch_difference"] < 1e-4
    assert spec["parity"]["texts_per_second_1_thread"] > 0
    assert set(spec["compared"]) == {"fp32", "fp16", "int8", "int8-blocks", "fp16-compute"}
    assert spec["source"]["licence"] == "Apache-2.0"
    assert spec["pca"]["fitted_on"].startswith("200 generated texts")
    assert "Apache License" in (exported / "NOTICE").read_text()
    assert str(source) not in (exported / "spec.json").read_text() + (exported / "NOTICE").read_text()


def test_a_changed_file_is_refused(exported: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json", "spec.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA-256"):
        OnnxTextEncoder(tmp_path, ["text"], providers=[CPU])


def test_the_encoder_agrees_with_torch(source: Path, lines: Path, tmp_path: Path) -> None:
    """The whole way, tokenizer and PCA included, at float32; int8 is measured by its spec."""
    assert export(source, tmp_path, lines, "--variant", "fp32") == 0
    loaded = importlib.import_module("export.source").load(source, MAX_TOKENS)
    fitted_on, _ = importlib.import_module("export.samples").lines(lines, 200, 60)
    projection = importlib.import_module("export.projection").fit(loaded.encode(fitted_on), DIM)
    spec = json.loads((tmp_path / "tiny" / "spec.json").read_text())
    assert spec["pca"]["fitted_on"] == "180 texts of the user"
    assert str(lines.parent) not in json.dumps(spec)
    np.testing.assert_allclose(encoded(tmp_path / "tiny"), projection.apply(loaded.encode(ROWS)), atol=1e-4)


@pytest.mark.parametrize("family", ["distilbert", "roberta", "xlm-roberta", "mpnet"])
def test_a_family_agrees_with_its_own_model(family: str, lines: Path, tmp_path: Path) -> None:
    """Mean pooling over transformers' own output, one text at a time, so that no padding is in the truth."""
    folder = tiny_models.TEXT[family](tmp_path / "source")
    assert export(folder, tmp_path, lines, "--dim", "0", "--variant", "fp32", "--max-tokens", "40") == 0
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    expected = []
    for text in ROWS:
        fed = tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(input_ids=fed["input_ids"]).last_hidden_state
        expected.append(torch.nn.functional.normalize(hidden.mean(1), dim=1).numpy()[0])
    np.testing.assert_allclose(encoded(tmp_path / "tiny"), np.stack(expected), atol=1e-4)
    unknown = json.loads((tmp_path / "tiny" / "spec.json").read_text())["preprocessing"]["unknown_id"]
    assert (unknown == -1) == (family == "roberta")  # bytes are never unknown


def test_pooling_and_dense_layers_of_sentence_transformers_are_folded_in(lines: Path, tmp_path: Path) -> None:
    folder = tiny_models.sentence_transformer(tmp_path / "source")
    asked = ["--name", "tiny", "--out", str(tmp_path), "--source", "ours", "--dim", "0", "--texts", str(lines)]
    assert main(["text", "--model", str(folder), *asked, "--max-tokens", "40", "--variant", "fp32"]) == 0
    model = importlib.import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 40
    np.testing.assert_allclose(encoded(tmp_path / "tiny"), model.encode(ROWS), atol=1e-4)
    spec = json.loads((tmp_path / "tiny" / "spec.json").read_text())
    assert (spec["dim"], spec["pca"], spec["source"]["licence"]) == (24, None, "Apache-2.0")
    assert spec["preprocessing"]["pooling"].startswith("first token, dense to 24")


def test_a_bad_export_is_refused_with_every_reason(
    source: Path, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(source, tmp_path, lines, "--min-cosine", "1.5", "--min-neighbours", "1.5", "--max-bytes", "9") == 1
    said = capsys.readouterr().err
    for reason in ("nothing was written", "--min-cosine", "--min-neighbours", "--max-bytes", "int8-blocks:"):
        assert reason in said
    assert not list(tmp_path.iterdir())


def test_more_dimensions_than_there_are_are_refused(
    source: Path, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(source, tmp_path, lines, "--dim", "33") == 1
    assert "--dim 33" in capsys.readouterr().err


def test_the_position_offset_bounds_the_tokens(lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_models.roberta(tmp_path / "source")
    assert export(folder, tmp_path, lines, "--max-tokens", "41") == 1
    assert "reads 40 at most" in capsys.readouterr().err


def test_half_precision_computes_in_half_precision_between_float32(
    source: Path, exported: Path, tmp_path: Path
) -> None:
    onnx = importlib.import_module("onnx")
    assert export(source, tmp_path, None, "--variant", "fp16-compute") == 0
    graph = onnx.load(tmp_path / "tiny" / "model.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1}
    assert {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT} == {"exact_projection_components"}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    half = encoded(tmp_path / "tiny")
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    assert (half * encoded(exported)).sum(1).min() > 0.99


@pytest.mark.parametrize(("model", "said"), [("nobody/nosuch", "cache"), ("no where at all", "no such folder")])
def test_a_model_that_is_not_there_is_said_so(
    model: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert main(["text", "--model", model, "--name", "tiny", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert model in error
    assert said in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_broken_file_is_said_so(
    name: str, source: Path, tmp_path: Path, lines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(source, folder)
    (folder / name).write_bytes(b"{broken")
    assert export(folder, tmp_path / "out", lines) == 1
    assert "broken" in capsys.readouterr().err


def test_terms_that_are_not_known_are_asked_for(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", "--model", str(source), "--name", "tiny", "--out", str(tmp_path)]) == 1
    assert "--licence" in capsys.readouterr().err


def test_the_corpus_follows_its_seed() -> None:
    corpus = importlib.import_module("export.corpus")
    assert corpus.texts(30, 5) == corpus.texts(30, 5) != corpus.texts(30, 6)
