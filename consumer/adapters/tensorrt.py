"""What TensorRT is told: the shapes an engine is built for, its precision, and where built engines are kept.

The names of the options are those of onnxruntime's TensorRT provider. An engine is built for one model, one version of
onnxruntime and one processor; onnxruntime tells processors apart itself, the folder tells the rest apart.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from consumer.adapters.model_spec import spec_says

Shape = Mapping[str, Sequence[int]]
"""Input → its dimensions."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What an encoder sends its model: the smallest batch, one as it is most often, the largest there can be."""

    smallest: Shape
    usual: Shape
    largest: Shape


def tensorrt_options(model: bytes, model_dir: Path, shapes: Shapes | None, engines: Path | None) -> dict[str, str]:
    """Options for one model. Engines are kept below `engines`, if it is given and can be written to."""
    options = {"trt_fp16_enable": str(_is_half(model_dir))}
    if shapes is not None:
        options |= {
            "trt_profile_min_shapes": _written(shapes.smallest),
            "trt_profile_opt_shapes": _written(shapes.usual),
            "trt_profile_max_shapes": _written(shapes.largest),
        }
    folder = _folder(model, engines)
    if folder is not None:
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(folder),
        }
    return options


def _written(shape: Shape) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, dimensions))}" for name, dimensions in shape.items())


def _is_half(model_dir: Path) -> bool:
    """Half precision only for a model that was exported, and measured, in it."""
    return spec_says(model_dir, "variant", "fp16-compute")


def _folder(model: bytes, engines: Path | None) -> Path | None:
    """A folder of this model's own; None where nothing can be written: the engine is then built at every start."""
    if engines is None:
        return None
    folder = engines / f"{hashlib.sha256(model).hexdigest()[:16]}-{onnxruntime.__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
