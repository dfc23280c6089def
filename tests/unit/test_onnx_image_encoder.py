"""The shipped image model: copies are near, strangers are not, and no row depends on another."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from consumer.adapters.allow_list import AllowList
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.adapters.likeness import Likeness
from consumer.adapters.onnx_image_encoder import OnnxImageEncoder
from consumer.adapters.onnx_session import CPU
from consumer.errors import ModelError
from consumer.metrics import METRICS
from consumer.records import FieldValue, Picture
from tests import canonical_pictures
from tests.canonical_pictures import MODEL
from tests.pictures import encoded, hostile, photo

LIMITS = FetchLimits(max_bytes=1_000_000, timeout_seconds=5.0, attempts=1)
Row = Mapping[str, FieldValue]


def encoder(
    folder: Path = MODEL,
    base: Path | None = None,
    *,
    likeness: Likeness | None = None,
    threads: int = 1,
    batch_images: int = 32,
) -> OnnxImageEncoder:
    store = ImageStore(AllowList([], base), LIMITS)
    fields = ["image", "image_uri"]
    return OnnxImageEncoder(
        folder, fields, store, likeness=likeness, providers=[CPU], threads=threads, batch_images=batch_images
    )


@pytest.fixture(scope="module")
def shipped() -> OnnxImageEncoder:
    return encoder(threads=2)


def row(image: Image.Image, kind: str = "JPEG", **options: int) -> Row:
    return {"image": encoded(image, kind, **options)}


def outcomes() -> dict[str, float]:
    """Pictures counted so far, by outcome."""
    samples = (s for metric in METRICS.images.collect() for s in metric.samples if s.name == "dedup_images_total")
    return {s.labels["outcome"]: s.value for s in samples}


def counted(before: Mapping[str, float]) -> dict[str, int]:
    return {
        name: int(value - before.get(name, 0)) for name, value in outcomes().items() if value != before.get(name, 0)
    }


def test_copies_are_near_and_strangers_are_not(shipped: OnnxImageEncoder) -> None:
    image = photo(1, 300, 260)
    copies = [
        row(image),
        row(image, quality=30),
        row(image, "PNG"),
        row(image, "WEBP"),
        row(image.resize((120, 104))),
    ]
    strangers = [row(photo(seed, 300, 260)) for seed in range(2, 8)]
    made = shipped.encode([*copies, *strangers])
    assert made.present.all()
    near, far = made.vectors[0] @ made.vectors[1:5].T, made.vectors[0] @ made.vectors[5:].T
    assert near.min() > 0.8
    assert near.min() > far.max() + 0.1


def test_vectors_are_unit_rows_or_zero(shipped: OnnxImageEncoder) -> None:
    made = shipped.encode([row(photo(1)), {}, {"image": b"no picture"}, row(photo(2))])
    assert made.vectors.dtype == np.float32
    assert made.vectors.shape == (4, shipped.dim)
    assert made.present.tolist() == [True, False, False, True]
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), [1, 0, 0, 1], atol=1e-4)
    assert shipped.encode([]).vectors.shape == (0, shipped.dim)


def test_likeness_makes_copies_near_and_all_else_alike(shipped: OnnxImageEncoder) -> None:
    rows: list[Row] = [row(photo(1)), row(photo(1), quality=40), *(row(photo(seed)) for seed in range(2, 6)), {}]
    likeness = Likeness(0.6, 0.2)
    plain, turned = shipped.encode(rows), encoder(likeness=likeness).encode(rows)
    wanted = 0.6 + 0.4 * np.exp((plain.vectors @ plain.vectors.T - 1) / 0.2)
    assert turned.vectors.shape == (7, likeness.dim)
    assert np.allclose((turned.vectors @ turned.vectors.T)[:6, :6], wanted[:6, :6], atol=0.1)
    assert turned.present.tolist() == plain.present.tolist()
    assert not turned.vectors[6].any()
    assert encoder(likeness=likeness).fingerprint != shipped.fingerprint
    assert encoder(likeness=likeness).fingerprint != encoder(likeness=Likeness(0.6, 0.3)).fingerprint


@given(st.lists(st.integers(0, 5) | st.none(), min_size=1, max_size=9), st.integers(1, 4))
@settings(max_examples=10)
def test_a_row_does_not_depend_on_the_others(shipped: OnnxImageEncoder, seeds: list[int | None], size: int) -> None:
    rows: list[Row] = [{} if seed is None else row(photo(seed)) for seed in seeds]
    together = encoder(batch_images=size).encode(rows)
    for i, one in enumerate(rows):
        alone = shipped.encode([one])
        assert together.present[i] == alone.present[0]
        assert np.allclose(together.vectors[i], alone.vectors[0], atol=1e-5)


def test_the_file_wins_over_the_address(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(photo(1), "PNG"))
    made = encoder(base=tmp_path).encode(
        [
            {"image": encoded(photo(2), "PNG"), "image_uri": "1.png"},
            {"image_uri": "1.png"},
            row(photo(2), "PNG"),
            row(photo(1), "PNG"),
        ]
    )
    assert made.present.all()
    assert made.vectors[0] @ made.vectors[2] == pytest.approx(1, abs=1e-4)
    assert made.vectors[1] @ made.vectors[3] == pytest.approx(1, abs=1e-4)


def test_pictures_that_were_read_are_measured_wherever_they_came_from(tmp_path: Path) -> None:
    content = encoded(photo(1, 700, 300))
    (tmp_path / "1.jpg").write_bytes(content)
    rows: list[Row] = [{}, {"image": content}, {"image": content[:90]}, {"image_uri": "1.jpg"}, {"image_uri": "2.jpg"}]
    picture = Picture(700, 300, len(content))
    made = encoder(base=tmp_path, batch_images=1).encode(rows)
    assert made.pictures == [None, picture, None, picture, None]
    assert [p is not None for p in made.pictures] == made.present.tolist()


def test_every_outcome_is_counted_and_the_row_goes_on(tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(1_000_001))
    files = hostile()
    rows: list[Row] = [{"image": content} for content, _ in files.values()]
    rows += [{}, {"image_uri": "absent.jpg"}, {"image_uri": "../x.jpg"}, {"image_uri": "large.jpg"}]
    before = outcomes()
    made = encoder(base=tmp_path).encode(rows)
    wanted = {"missing": 1, "not_found": 1, "refused": 1, "too_large": 1}
    for _, outcome in files.values():
        wanted[outcome] = wanted.get(outcome, 0) + 1
    assert counted(before) == wanted
    assert made.present.tolist() == [outcome == "read" for _, outcome in files.values()] + [False] * 4


def test_a_batch_that_takes_too_long_goes_on_without_its_pictures() -> None:
    images = ImageStore(AllowList(["http://localhost:9"]), LIMITS)
    late = OnnxImageEncoder(MODEL, ["image_uri"], images, providers=[CPU], batch_seconds=0.0)
    before = outcomes()
    assert not late.encode([{"image_uri": f"http://localhost:9/{n}.jpg"} for n in range(40)]).present.any()
    assert counted(before) == {"unreachable": 40}
    assert images.read("http://localhost:9/1.jpg", time.monotonic()) == "unreachable"


def copied(tmp_path: Path, **changes: object) -> Path:
    """The model's folder with parts of its spec changed."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((MODEL / "model.onnx").read_bytes())
    spec = json.loads((MODEL / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": {"model.onnx": "00"}}, "SHA-256"),
        ({"sha256": {}}, "is not the spec of an image encoder"),
        ({"preprocessing": {"size": 128}}, "is not the spec of an image encoder"),
        ({"preprocessing": {"size": 0, "resize": "squash", "filter": "box"}}, "size: 0"),
        ({"preprocessing": []}, "is not the spec of an image encoder"),
        ({"modality": "text"}, "name an image model"),
        ({"dim": None}, "is not the spec of an image encoder"),
    ],
    ids=str,
)
def test_a_folder_that_is_not_what_its_spec_says_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        encoder(copied(tmp_path, **changes))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        encoder(tmp_path / "absent")


def test_the_fingerprint_names_everything_that_changes_the_numbers(shipped: OnnxImageEncoder, tmp_path: Path) -> None:
    spec = json.loads((MODEL / "spec.json").read_text())
    other = {**spec["preprocessing"], "filter": "box" if spec["preprocessing"]["filter"] != "box" else "bicubic"}
    assert encoder(copied(tmp_path, preprocessing=other)).fingerprint != shipped.fingerprint
    assert encoder(threads=1).fingerprint == shipped.fingerprint
    store = ImageStore(AllowList([]), LIMITS)
    assert OnnxImageEncoder(MODEL, ["image"], store, providers=[CPU]).fingerprint != shipped.fingerprint


def test_canonical_vectors() -> None:
    """The numbers of the shipped model. After a new model: `python -m tests.canonical_pictures`, and look at the change."""
    wanted, found = canonical_pictures.kept(), canonical_pictures.made()
    assert found.shape == wanted.shape
    assert ((found * wanted).sum(axis=1) > 0.9999).all()
