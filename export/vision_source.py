"""An image encoder as it was trained, in torch: the truth that an export is measured against."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPModel,
    CLIPVisionModelWithProjection,
    ViTMAEModel,
)

from consumer.adapters.pixels import Filter, Pixels, Preprocessing
from export.errors import ExportError
from export.projection import Floats
from export.weights import UNREADABLE, complete

POOLINGS = ("cls", "mean")
_TOKENS = {"vit": "cls", "dinov2": "cls", "vit_mae": "mean"}
"""Families whose output is tokens, a class token first, and how they are pooled unless the user says otherwise."""
_POOLED = ("clip_vision_model", "resnet", "convnext")
"""Families that pool by themselves."""
_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic", 4: "box"}
"""Pillow's numbers of its resampling filters."""


@dataclass(frozen=True, slots=True)
class Vision:
    """A loaded encoder of pictures, and how a picture is prepared for it."""

    model: torch.nn.Module
    family: str
    pooling: str
    """`cls`, `mean` (of the tokens of the patches), `projected` (CLIP) or `own` (what the model pools by itself)."""
    processor: Any
    """The image processor of transformers that came with the model."""
    preprocessing: Preprocessing

    def feed(self, items: Sequence[Pixels]) -> Mapping[str, Pixels]:
        """`pixels`, uint8 [n, size, size, 3]."""
        return {"pixels": np.stack(items)}

    def encode(self, items: Sequence[Pixels]) -> Floats:
        """float32 unit rows [n, width] of pictures already resized, scaled by the model's own processor."""
        prepared = [
            self.processor(image, do_resize=False, do_center_crop=False, return_tensors="pt", **_CHANNELS_LAST)
            for image in map(Image.fromarray, items)
        ]
        return self._encode([one["pixel_values"] for one in prepared])

    def encode_files(self, files: Sequence[bytes]) -> Floats:
        """The same from files, resized by the model's own processor: nothing of ours is in it but the model."""
        prepared = []
        for content in files:
            with Image.open(io.BytesIO(content)) as image:
                prepared.append(self.processor(image.convert("RGB"), return_tensors="pt")["pixel_values"])
        return self._encode(prepared)

    def _encode(self, values: Sequence[torch.Tensor], batch: int = 16) -> Floats:
        rows = []
        for start in range(0, len(values), batch):
            with torch.inference_mode():
                pooled = _pooled(self.model, torch.cat(list(values[start : start + batch])), self.pooling)
                rows.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
        return np.concatenate(rows)


_CHANNELS_LAST = {"input_data_format": "channels_last"}
"""Said, because a picture of three pixels' height could be taken for channels."""


class Graph(torch.nn.Module):
    """`pixels`, uint8 [n, size, size, 3] → unit rows: scaling, mean, deviation and order of axes are in the graph."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.encoder, self.pooling = vision.model, vision.pooling
        config = vision.processor.to_dict()
        scale = float(config["rescale_factor"]) if config.get("do_rescale", True) else 1.0
        normalised = config.get("do_normalize", True)
        mean = torch.tensor(config["image_mean"] if normalised else [0.0] * 3)
        deviation = torch.tensor(config["image_std"] if normalised else [1.0] * 3)
        self.register_buffer("scale", scale / deviation)
        self.register_buffer("shift", mean / deviation)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        values = (pixels.to(torch.float32) * self.scale - self.shift).permute(0, 3, 1, 2)
        return torch.nn.functional.normalize(_pooled(self.encoder, values, self.pooling), dim=1)


class _Tower(torch.nn.Module):
    """CLIP's half for pictures. The width of its projection is in the configuration of the whole, not of the half."""

    def __init__(self, whole: torch.nn.Module) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = whole.vision_model, whole.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.visual_projection(self.vision_model(pixel_values=pixel_values).pooler_output)


def load(folder: Path, pooling: str | None) -> Vision:
    """Read an encoder from `folder`, offline. Raises ExportError when transformers cannot, or its family is unknown."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        model, pooled_by = _model(folder, config, pooling)
    except (*UNREADABLE, ImportError) as error:
        raise ExportError(f"transformers cannot load {folder}: {error}") from error
    return Vision(model.float().eval(), config.model_type, pooled_by, processor, preprocessing(processor.to_dict()))


def _model(folder: Path, config: Any, pooling: str | None) -> tuple[torch.nn.Module, str]:
    family = config.model_type
    asked = {"local_files_only": True, "output_loading_info": True}
    if family in _TOKENS:
        kind = ViTMAEModel if family == "vit_mae" else AutoModel
        model = complete(kind.from_pretrained(folder, attn_implementation="eager", **asked), folder)
        if family == "vit_mae":
            # A masked autoencoder leaves out patches, at random, and in a random order; an encoder sees them all.
            model.embeddings.random_masking = _all_patches
        return model, pooling or _TOKENS[family]
    if pooling is not None:
        raise ExportError(f"--pooling {pooling}: {family} pools by itself")
    if family == "clip":
        return _Tower(
            complete(CLIPModel.from_pretrained(folder, attn_implementation="eager", **asked), folder)
        ), "projected"
    if "CLIPVisionModelWithProjection" in (config.architectures or ()):
        loaded = CLIPVisionModelWithProjection.from_pretrained(folder, attn_implementation="eager", **asked)
        return complete(loaded, folder), "projected"
    if family not in _POOLED:
        known = ", ".join(sorted((*_TOKENS, "clip", *_POOLED)))
        raise ExportError(f"{folder}: models of the family {family} are not known here; {known} are")
    return complete(AutoModel.from_pretrained(folder, **asked), folder, needed=("pooler",)), "own"


def preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """What a processor's configuration means for a file. Raises ExportError for what the consumer cannot do."""
    if not config.get("do_resize", True):
        raise ExportError("its processor does not resize; pictures come in every size")
    number = config.get("resample")
    if number not in _FILTERS:
        raise ExportError(f"its processor resizes by Pillow's filter {number}; known are {_FILTERS}")
    size, crop = dict(config["size"] or {}), dict(config.get("crop_size") or {})
    edge = size.get("shortest_edge")
    if edge is None:
        return _checked(_square(size), None, _FILTERS[number])
    if config.get("crop_pct") is not None:
        # ConvNeXt's processor, also of ResNet: the size is that of the crop, unless it is large.
        return _checked(int(edge), int(edge / config["crop_pct"]) if edge < 384 else None, _FILTERS[number])
    if not config.get("do_center_crop"):
        raise ExportError("its processor keeps the proportions and cuts nothing: pictures would come in every size")
    return _checked(_square(crop), int(edge), _FILTERS[number])


def _checked(size: int, shortest_edge: int | None, filtered: Filter) -> Preprocessing:
    try:
        return Preprocessing(size, "squash" if shortest_edge is None else "crop", filtered, shortest_edge)
    except ValueError as error:
        raise ExportError(f"its processor asks for what is not possible: {error}") from error


def _square(size: Mapping[str, Any]) -> int:
    if not size or size.get("height") is None or size["height"] != size.get("width"):
        raise ExportError(f"its processor makes pictures of {dict(size)}; only squares are possible")
    return int(size["height"])


def _pooled(model: torch.nn.Module, values: torch.Tensor, pooling: str) -> torch.Tensor:
    made = model(pixel_values=values)
    if pooling == "projected":
        return made if isinstance(made, torch.Tensor) else made.image_embeds
    if pooling == "own":
        return made.pooler_output.flatten(1)
    return made.last_hidden_state[:, 0] if pooling == "cls" else made.last_hidden_state[:, 1:].mean(1)


def _all_patches(sequence: torch.Tensor, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, None, None]:
    """In place of `random_masking`: every patch, in its order."""
    del noise
    return sequence, None, None
