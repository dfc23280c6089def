"""A folder that was exported before, as a source: its files, and how its inputs are made. Nothing of torch."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from consumer.adapters.onnx_session import verified
from consumer.adapters.pixels import Pixels, pixels, preprocessing_of
from consumer.adapters.subword_encoder import padded
from consumer.adapters.subword_tokens import REVISION, features
from consumer.errors import ModelError
from export import samples
from export.errors import ExportError
from export.parity import Feed, Item

Inputs = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Exported(Generic[Item]):
    """A verified folder."""

    spec: Mapping[str, Any]
    files: Mapping[str, bytes]
    """All that the spec vouches for, the graph among them."""
    notice: str
    unit: str
    feed: Feed[Item]
    read: Callable[[argparse.Namespace], tuple[Sequence[Item], Sequence[Item]]]
    """What to fit and what to measure on, of the user's data."""

    @property
    def model(self) -> bytes:
        return self.files["model.onnx"]


def load(folder: Path) -> Exported[Any]:
    """Raises ExportError when the folder is not the one its spec.json describes, or is of a kind that is not reduced."""
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
        files = {name: verified(folder / name, digest) for name, digest in spec["sha256"].items()}
        notice = (folder / "NOTICE").read_text("utf-8")
        modality, preprocessing = spec["modality"], spec["preprocessing"]
    except ModelError as error:
        raise ExportError(str(error)) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"--model {folder}: no folder made by export ({error!r})") from error
    if modality == "text":
        return Exported(spec, files, notice, "texts", _tokenised(files["tokenizer.json"], preprocessing), _lines)
    if modality == "subword":
        if preprocessing["features"] != REVISION:
            made = preprocessing["features"]
            raise ExportError(
                f"--model {folder}: made for features {made!r}, this version has {REVISION!r}; train again"
            )
        return Exported(spec, files, notice, "texts", _spelled, _spellable)
    if modality == "image":
        return Exported(spec, files, notice, "images", _stacked, lambda asked: _pictures(asked, preprocessing))
    raise ExportError(f"--model {folder}: of modality {modality}; text, subword and image can be reduced")


def _tokenised(content: bytes, preprocessing: Mapping[str, Any]) -> Feed[str]:
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(preprocessing["max_tokens"]))
    pad = int(preprocessing["pad_id"])

    def feed(texts: Sequence[str]) -> Inputs:
        encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        width = max(map(len, encoded))
        return {
            "input_ids": np.array([ids + [pad] * (width - len(ids)) for ids in encoded], np.int64),
            "attention_mask": np.array([[1] * len(ids) + [0] * (width - len(ids)) for ids in encoded], np.int64),
        }

    return feed


def _lines(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    if arguments.texts is None:
        raise ExportError("--texts FILE is needed: the PCA of a text model is fitted on your texts")
    return samples.lines(arguments.texts, arguments.fit, arguments.check)


def _spellable(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    fit, check = _lines(arguments)
    return [text for text in fit if features(text)], [text for text in check if features(text)]


def _spelled(texts: Sequence[str]) -> Inputs:
    return padded([features(text) for text in texts])


def _pictures(arguments: argparse.Namespace, preprocessing: Mapping[str, Any]) -> tuple[list[Pixels], list[Pixels]]:
    if arguments.photos is None:
        raise ExportError("--photos DIR is needed: the PCA of an image model is fitted on your pictures")
    wanted = preprocessing_of(preprocessing)
    fit, check = samples.pictures(arguments.photos, arguments.fit, arguments.check, arguments.seed)
    return [pixels(one, wanted) for one in fit], [pixels(one, wanted) for one in check]


def _stacked(items: Sequence[Pixels]) -> Inputs:
    return {"pixels": np.stack(items)}
