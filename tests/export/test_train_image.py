"""A tiny image encoder is trained on drawn photos and goes through the whole export, or nothing comes out."""

import csv
import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from consumer.adapters.onnx_session import CPU, Session, verified
from consumer.adapters.pixels import pixels, preprocessing_of
from export import photos, transforms
from export.__main__ import main

MISSING = [name for name in ("torch", "onnx", "imagehash") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra `export` is not installed: no {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("default"),  # torch warns
]

SIZES = (
    *("--dim", "16", "--width", "32", "--depth", "1", "--units", "32", "--drawings", "8", "--pairs", "8"),
    *(
        "--mae-steps",
        "2",
        "--first-steps",
        "2",
        "--steps",
        "2",
        "--fit-pairs",
        "16",
        "--queries",
        "2",
        "--min-recall",
        "0.1",
    ),
)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight classes of four drawn photos."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "img").mkdir()
    chance, around = Random(3), [Image.new("RGB", (8, 8), "grey")]
    with (folder / "truth.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "cluster_id"))
        for number in range(32):
            around = [*around[-8:], photos.drawn(chance, around, 160)]
            (folder / "img" / f"p{number}.jpg").write_bytes(transforms.jpeg(around[-1], 90))
            rows.writerow((f"p{number}", number // 4))
    return folder


def train(album: Path, out: Path, *more: str) -> int:
    return main(["train-image", "--photos", str(album), "--name", "tiny", "--out", str(out), *SIZES, *more])


@pytest.fixture(scope="module")
def model(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    assert train(album, out) == 0
    return out / "tiny"


def test_what_was_trained_is_what_is_served(album: Path, model: Path) -> None:
    spec = json.loads((model / "spec.json").read_text())
    assert spec["sha256"]["model.onnx"] == hashlib.sha256((model / "model.onnx").read_bytes()).hexdigest()
    assert (spec["dim"], spec["modality"]) == (16, "image")
    assert spec["training"]["photos"] == 24
    assert spec["training"]["classes"] == ["0", "1", "2", "4", "5", "6"]
    assert spec["evaluation"]["photos_never_seen"] == 8
    assert spec["parity"]["cosine_min"] > 0.99
    assert spec["parity"]["batch_difference"] <= 1e-5
    assert str(album) not in (model / "spec.json").read_text() + (model / "NOTICE").read_text()
    session = Session(verified(model / "model.onnx", spec["sha256"]["model.onnx"]), model, providers=[CPU], threads=1)
    files = [photo.content for photo in photos.read(album)]
    read = np.stack([pixels(one, preprocessing_of(spec["preprocessing"])) for one in files])
    rows = session.run("embedding", {"pixels": read})
    assert rows.shape == (32, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[5], session.run("embedding", {"pixels": read[5:6]})[0], atol=1e-5)


def test_all_ways_to_hang_a_picture_are_one(model: Path, album: Path) -> None:
    spec = json.loads((model / "spec.json").read_text())
    session = Session((model / "model.onnx").read_bytes(), model, providers=[CPU], threads=1)
    one = pixels(photos.read(album)[0].content, preprocessing_of(spec["preprocessing"]))
    hung = [np.rot90(side, turns) for side in (one, one[:, ::-1]) for turns in range(4)]
    rows = session.run("embedding", {"pixels": np.stack(hung)})
    np.testing.assert_allclose(rows, np.broadcast_to(rows[0], rows.shape), atol=1e-4)


def test_it_is_judged_only_on_classes_it_never_saw(
    model: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = importlib.import_module("export.evaluate.__main__").main
    table = tmp_path / "table.md"
    asked = ["image", "--photos", str(album), "--model", str(model), "--queries", "2", "--out", str(table)]
    assert judge(asked) == 0
    assert "copies of 8 photos" in table.read_text()
    assert table.read_text().strip() in capsys.readouterr().out


def test_a_bad_model_is_refused(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(album, tmp_path, "--min-recall", "1.5") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_without_photos_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, tmp_path) == 1
    assert "no photos" in capsys.readouterr().err


def test_a_seed_gives_one_network(album: Path) -> None:
    vision, views = importlib.import_module("export.vision"), importlib.import_module("export.views")
    torch = importlib.import_module("torch")
    seen, _ = photos.split(photos.read(album))

    def trained() -> dict[str, object]:
        torch.manual_seed(5)
        encoder = vision.Encoder(vision.Shape(16, 32, 1, 32))
        supply = views.Supply(seen, 4, 5)
        vision.pretrain(encoder, supply, 1, 5, 8)
        vision.tune(encoder, supply, 1, 5, 8)
        return dict(encoder.state_dict())

    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_originals_of_a_batch_are_different_and_copies_resemble_them(album: Path) -> None:
    views = importlib.import_module("export.views")
    seen, unseen = photos.split(photos.read(album))
    assert {photo.kind for photo in seen}.isdisjoint(photo.kind for photo in unseen)
    first, second = views.Supply(seen, 4, 5).pairs(16, Random(2))
    assert first.shape == second.shape == (16, 128, 128, 3)
    assert first.dtype == second.dtype == np.uint8
    assert len({one.tobytes() for one in first}) == 16
