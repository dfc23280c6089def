"""A tiny random BERT goes through the whole export: what comes out is what went in, or nothing comes out."""

import hashlib
import importlib
import importlib.util
import json
import string
from pathlib import Path

import numpy as np
import pytest

from consumer.adapters.onnx_session import CPU
from consumer.adapters.onnx_text_encoder import OnnxTextEncoder
from export.__main__ import main

NEEDED = ("torch", "transformers", "onnx", "onnxscript", "faker")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and transformers warn of each other
]

DIM, MAX_TOKENS = 8, 24


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of random weights, whose words are single letters."""
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    tokenizers = importlib.import_module("tokenizers")
    folder = tmp_path_factory.mktemp("source")
    letters = string.ascii_lowercase + string.digits + ",-"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.3,  # at the usual 0.02 an untrained model says the same of every text
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def export(source: Path, out: Path, *more: str) -> int:
    sizes = ["--dim", str(DIM), "--max-tokens", str(MAX_TOKENS), "--fit-texts", "300", "--check-texts", "150"]
    origin = ["--source", "a random BERT", "--licence", "Apache-2.0"]
    return main(["text", "--model", str(source), "--name", "tiny", "--out", str(out), *origin, *sizes, *more])


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    assert export(source, out, "--variant", "int8") == 0
    return out / "tiny"


def test_the_spec_describes_what_was_written(exported: Path) -> None:
    spec = json.loads((exported / "spec.json").read_text())
    for name in ("model.onnx", "tokenizer.json"):
        assert spec["sha256"][name] == hashlib.sha256((exported / name).read_bytes()).hexdigest()
    assert (spec["dim"], spec["preprocessing"]["max_tokens"], spec["variant"]) == (DIM, MAX_TOKENS, "int8")
    assert spec["parity"]["cosine_mean"] > 0.99
    assert spec["parity"]["batch_difference"] < 1e-4
    assert set(spec["compared"]) == {"fp32", "fp16", "int8", "int8-blocks"}
    assert "Apache License" in (exported / "NOTICE").read_text()


def test_the_encoder_agrees_with_torch(source: Path, exported: Path, tmp_path: Path) -> None:
    """The whole way, tokenizer and PCA included, at float32; int8 is measured by its spec."""
    truth = importlib.import_module("export.source")
    corpus = importlib.import_module("export.corpus")
    assert export(source, tmp_path, "--variant", "fp32") == 0
    loaded = truth.load(source, MAX_TOKENS)
    seed = json.loads((exported / "spec.json").read_text())["pca"]["seed"]
    projection = truth.fit(truth.encode(loaded, corpus.texts(300, seed)), DIM)
    texts = ["ann lee, leeds", "a", "Zephra K9 tent, " * 20, "1-2-3"]
    expected = projection.apply(truth.encode(loaded, texts))
    found = OnnxTextEncoder(tmp_path / "tiny", ["text"], providers=[CPU]).encode([{"text": text} for text in texts])
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4)


def test_a_bad_export_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(source, tmp_path, "--min-cosine", "1.5") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "nowhere", tmp_path) == 1
    assert "nowhere" in capsys.readouterr().err


def test_the_corpus_follows_its_seed() -> None:
    corpus = importlib.import_module("export.corpus")
    assert corpus.texts(60, 5) == corpus.texts(60, 5)
    assert corpus.texts(60, 5) != corpus.texts(60, 6)
