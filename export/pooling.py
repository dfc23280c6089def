"""From a text's token vectors to one vector: what sentence-transformers wrote beside the model, or what the user says."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from export.errors import ExportError
from export.weights import UNREADABLE

POOLINGS = ("mean", "cls", "max")
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}
"""Up to version 5 the pooling was a flag per mode."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder holds: a plain transformers model, or a sentence-transformers one with its modules."""

    transformer: Path
    """Folder with config.json and the weights of the encoder."""
    pooling: str
    """`mean`, `cls` or `max`."""
    dense: tuple["Dense", ...]
    lowercase: bool
    """Whether texts are lowercased before the tokenizer sees them."""
    prompt: str | None
    """What its authors put before every text; not part of the export."""

    @property
    def described(self) -> str:
        """For a spec."""
        words = {"mean": "mean over the attention mask", "cls": "first token", "max": "maximum over the attention mask"}
        layers = "".join(f", dense to {layer.linear.out_features}" for layer in self.dense)
        return f"{words[self.pooling]}{layers}, L2"


class Dense(torch.nn.Module):
    """A linear layer and its activation, as sentence-transformers saves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        config = _json(folder / "config.json")
        self.linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
        saved = folder / "model.safetensors"
        state = load_file(saved) if saved.is_file() else torch.load(folder / "pytorch_model.bin", weights_only=True)
        self.linear.load_state_dict({name.removeprefix("linear."): tensor for name, tensor in state.items()})
        self.activation = _activation(str(config.get("activation_function", "torch.nn.modules.linear.Identity")))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.activation(self.linear(pooled))


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """float32 [n, t, width] and the mask [n, t] → [n, width]."""
    if pooling == "cls":
        return hidden[:, 0]
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    if pooling == "max":
        # Finite, so that a float16 graph stays finite too; no hidden state comes near it.
        return (hidden * weight - (1 - weight) * 1e4).amax(1)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def read(folder: Path, pooling: str | None) -> Layout:
    """What `folder` says, or `pooling` in place of it; mean where neither does. Raises ExportError for what is unknown."""
    modules = _json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    transformer, found, dense, lowercase = folder, None, [], False
    for module in modules:
        if not isinstance(module, dict) or not {"type", "path"} <= module.keys():
            raise ExportError(f"{folder / 'modules.json'}: is not a list of modules with type and path")
        kind, place = str(module["type"]).rsplit(".", 1)[-1], folder / str(module["path"])
        if kind == "Transformer":
            transformer = place
            settings = place / "sentence_bert_config.json"
            lowercase = settings.is_file() and bool(_json(settings).get("do_lower_case", False))
        elif kind == "Pooling":
            found = _pooling(place / "config.json")
        elif kind == "Dense":
            dense.append(_dense(place))
        elif kind != "Normalize":
            raise ExportError(f"{place}: a module of kind {kind} is not known here; Pooling, Dense and Normalize are")
    return Layout(transformer, pooling or found or "mean", tuple(dense), lowercase, _prompt(folder))


def _pooling(path: Path) -> str:
    config = _json(path)
    if "pooling_mode" in config:
        modes = config["pooling_mode"] if isinstance(config["pooling_mode"], list) else [config["pooling_mode"]]
    else:
        modes = [
            _OLD_MODES.get(key, key) for key, on in config.items() if key.startswith("pooling_mode_") and on is True
        ]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ExportError(f"{path}: pools by {' and '.join(map(str, modes))}; known are {', '.join(POOLINGS)}")
    return str(modes[0])


def _dense(folder: Path) -> Dense:
    try:
        return Dense(folder)
    except (*UNREADABLE, TypeError) as error:
        raise ExportError(f"{folder}: cannot be read as a dense layer: {error}") from error


def _activation(name: str) -> torch.nn.Module:
    place, _, kind = name.rpartition(".")
    # The name is code to be imported, so only torch's own layers are.
    if not place.startswith("torch.nn"):
        raise ExportError(f"activation {name}: only those of torch.nn are known")
    try:
        made: torch.nn.Module = getattr(importlib.import_module(place), kind)()
    except (ImportError, AttributeError) as error:
        raise ExportError(f"activation {name}: torch has none of that name") from error
    return made


def _prompt(folder: Path) -> str | None:
    path = folder / "config_sentence_transformers.json"
    config = _json(path) if path.is_file() else {}
    name = config.get("default_prompt_name")
    return str(config.get("prompts", {}).get(name)) or None if name else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read: {error}") from error
