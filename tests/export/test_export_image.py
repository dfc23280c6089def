"""Tiny random vision models of every family go through the whole export, read by the consumer's own encoder."""

import importlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest

from consumer.adapters.allow_list import AllowList
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.adapters.onnx_image_encoder import OnnxImageEncoder
from consumer.adapters.onnx_session import CPU
from consumer.errors import ModelError
from export.__main__ import main
from tests.export import tiny_models

NEEDED = ("torch", "transformers", "onnx", "onnxscript")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch and transformers warn of each other
]

STORE = ImageStore(AllowList([]), FetchLimits(1_000_000, 1.0, 1))
Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.photos(tmp_path_factory.mktemp("photos"))


def export(model: Path, out: Path, photos: Path | None, *more: str) -> int:
    origin = ["--source", "a random model", "--licence", "MIT", "--variant", "fp32", "--dim", "0"]
    pictures = ["--photos", str(photos)] if photos else ["--fit-images", "30", "--check-images", "12"]
    return main(["image", "--model", str(model), "--name", "tiny", "--out", str(out), *origin, *pictures, *more])


def encoded(folder: Path, contents: list[bytes]) -> Vectors:
    """By the consumer's own encoder, from the bytes of files."""
    made = OnnxImageEncoder(folder, ["image"], STORE, providers=[CPU]).encode(
        [{"image": content} for content in contents]
    )
    assert made.present.all()
    return made.vectors


def own(family: str, folder: Path, contents: list[bytes]) -> Vectors:
    """What transformers makes of the files, with its own processor and no code of ours."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    image = importlib.import_module("PIL.Image")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    values = processor([image.open(io.BytesIO(content)) for content in contents], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        if family == "clip":
            pooled = transformers.CLIPModel.from_pretrained(folder).get_image_features(pixel_values=values)
            pooled = getattr(pooled, "pooler_output", pooled)
        elif family == "resnet":
            pooled = transformers.ResNetModel.from_pretrained(folder)(values).pooler_output.flatten(1)
        elif family == "vit":
            pooled = transformers.ViTModel.from_pretrained(folder)(values).last_hidden_state[:, 0]
        else:
            # Rising noise keeps the order of the patches.
            model = transformers.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0)
            noise = torch.arange(16.0).repeat(len(values), 1)
            pooled = model(values, noise=noise).last_hidden_state[:, 1:].mean(1)
        found: Vectors = torch.nn.functional.normalize(pooled, dim=1).numpy()
    return found


@pytest.mark.parametrize("family", list(tiny_models.VISION))
def test_a_family_agrees_with_its_own_model(family: str, photos: Path, tmp_path: Path) -> None:
    """From the bytes of a file to its vector."""
    folder = tiny_models.VISION[family](tmp_path / "source")
    assert export(folder, tmp_path, photos) == 0
    contents = [path.read_bytes() for path in sorted(photos.iterdir())[:8]]
    found, expected = encoded(tmp_path / "tiny", contents), own(family, folder, contents)
    assert found.shape == expected.shape
    assert (found * expected).sum(1).min() > 0.98  # a JPEG decoded at reduced size is not the same to the last bit
    spec = json.loads((tmp_path / "tiny" / "spec.json").read_text())
    assert spec["file_cosine_mean"] > 0.98
    assert spec["parity"]["cosine_min"] > 0.9999
    assert spec["parity"]["batch_difference"] < 1e-5
    assert spec["preprocessing"]["resize"] == ("crop" if family in {"clip", "resnet"} else "squash")
    assert set(spec["compared"]) == {"fp32", "fp16", "int8", "fp16-compute"}


def test_a_reduction_is_fitted_on_drawn_pictures(tmp_path: Path) -> None:
    folder = tiny_models.vit(tmp_path / "source")
    assert export(folder, tmp_path, None, "--dim", "8", "--pooling", "mean", "--variant", "int8") == 0
    spec = json.loads((tmp_path / "tiny" / "spec.json").read_text())
    assert (spec["dim"], spec["pca"]["fitted_on"], spec["variant"]) == (8, "30 drawn pictures", "int8")
    assert spec["preprocessing"]["pooling"] == "mean, L2, PCA, L2; all in the graph"
    graph = tmp_path / "tiny" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA-256"):
        OnnxImageEncoder(tmp_path / "tiny", ["image"], STORE, providers=[CPU])


def test_a_bad_export_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tiny_models.resnet(tmp_path / "source"), tmp_path / "out"
    assert export(folder, out, photos, "--min-cosine", "1.5", "--variant", "auto") == 1
    said = capsys.readouterr().err
    assert "nothing was written" in said
    assert all(f"{name}: mean cosine" in said for name in ("fp32", "fp16", "int8"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resample": 1}, "filter 1"),
        ({"size": {"height": 32, "width": 48}}, "only squares"),
        ({"do_resize": False}, "does not resize"),
    ],
)
def test_what_the_consumer_cannot_prepare_is_refused(
    changes: dict[str, object], said: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_models.vit(tmp_path / "source")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert export(folder, tmp_path, photos) == 1
    assert said in capsys.readouterr().err


def test_a_text_model_is_no_image_model(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_models.bert(tmp_path / "source")
    tiny_models._processor(folder, "ViTImageProcessor", size={"height": 32, "width": 32}, resample=2)
    assert export(folder, tmp_path, photos) == 1
    assert "bert" in capsys.readouterr().err


def test_a_model_without_its_weights_is_refused(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The missing ones would be made up, and a warning would say so."""
    folder = tiny_models.vit(tmp_path / "source")
    safetensors = importlib.import_module("safetensors.torch")
    saved = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in safetensors.load_file(saved).items() if "attention" not in name}
    safetensors.save_file(kept, saved, metadata={"format": "pt"})
    assert export(folder, tmp_path, photos) == 1
    assert "lacks" in capsys.readouterr().err
