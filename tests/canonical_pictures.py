"""What the shipped image model made of three pictures when it was shipped. Written again by `python -m tests.canonical_pictures`."""

import json
from pathlib import Path

import numpy as np

from consumer.adapters.allow_list import AllowList
from consumer.adapters.image_store import FetchLimits, ImageStore
from consumer.adapters.onnx_image_encoder import OnnxImageEncoder
from consumer.adapters.onnx_session import CPU
from consumer.records import FieldValue, Floats
from tests.pictures import encoded, photo
from tests.services import ROOT

MODEL = ROOT / "models" / "onnx" / "copy-vit"
FILE = Path(__file__).with_suffix(".json")
SEEDS = (101, 102, 103)


def made() -> Floats:
    """float32 [3, dim]: the vectors of three PNGs, on one thread of the processor."""
    store = ImageStore(AllowList([]), FetchLimits(1, 1.0, 1))
    rows: list[dict[str, FieldValue]] = [{"image": encoded(photo(seed, 256, 192), "PNG")} for seed in SEEDS]
    return OnnxImageEncoder(MODEL, ["image"], store, providers=[CPU]).encode(rows).vectors


def kept() -> Floats:
    return np.array(json.loads(FILE.read_text()), np.float32)


if __name__ == "__main__":
    FILE.write_text(json.dumps(np.round(made().astype(float), 5).tolist()) + "\n")
