"""Behaviour or device to vectors by a model folder that `export` fitted on a user's own records: features, one small graph.

What the fixed encoders cannot know is how a population behaves: which hours everybody keeps, which browser half of them
runs. That is in `model.onnx`; the features are those of the fixed encoder, which is asked for them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from consumer.adapters.model_spec import read_spec
from consumer.adapters.onnx_session import CPU, Session, verified
from consumer.errors import ModelError
from consumer.records import Embeddings, FieldValue, Floats


class Featured(Protocol):
    """An encoder that says what its vectors are made of."""

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""

    @property
    def revision(self) -> str:
        """Changes whenever the features of a row do; what a model was fitted on."""

    def features(self, rows: Sequence[Mapping[str, FieldValue]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """float32 [n, width], and which rows have any."""


@dataclass(frozen=True, slots=True)
class FittedSpec:
    """What the encoder needs of `spec.json`."""

    modality: str
    dim: int
    features: str
    width: int
    model_sha256: str


class FittedEncoder:
    """An `Encoder` of the rows that `inner` reads. Always on the CPU: its graph is a product of two small matrices.

    Raises ModelError when the folder is not the one its spec.json describes, is of another modality, or was fitted on
    other features than this version makes.
    """

    def __init__(self, model_dir: Path, modality: str, inner: Featured) -> None:
        self._spec = read_fitted_spec(model_dir)
        if (self._spec.modality, self._spec.features) != (modality, inner.revision):
            raise ModelError(
                f"{model_dir / 'spec.json'}: a model of {self._spec.modality} on features {self._spec.features!r}, here "
                f"{modality} on {inner.revision!r} is wanted; run `python -m export {modality}`, or name another model"
            )
        model = verified(model_dir / "model.onnx", self._spec.model_sha256)
        self._session = Session(model, model_dir, providers=[CPU], threads=1)
        self._inner = inner

    @property
    def dim(self) -> int:
        return self._spec.dim

    @property
    def fingerprint(self) -> str:
        """Of the model, and of the encoder that makes its features."""
        parts = ("fitted", self._spec.model_sha256, self._inner.fingerprint)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def provider(self) -> str:
        """Always `CPUExecutionProvider`."""
        return self._session.provider

    @property
    def passed_over(self) -> Sequence[str]:
        """None: no other provider was wanted."""
        return ()

    def warm_up(self) -> None:
        """Run once. Raises ModelError."""
        self._session.run("embedding", {"features": np.zeros((1, self._spec.width), np.float32)})

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows, zero where absent. Raises ModelError when the runtime fails."""
        vectors = np.zeros((len(rows), self._spec.dim), np.float32)
        features, present = self._inner.features(rows)
        if present.any():
            vectors[present] = self._session.run("embedding", {"features": features[present]})
        return Embeddings(vectors, present)


def read_fitted_spec(model_dir: Path) -> FittedSpec:
    """Read `spec.json`. Raises ModelError when it is missing or says too little."""

    def take(spec: Mapping[str, Any]) -> FittedSpec:
        return FittedSpec(
            modality=str(spec["modality"]),
            dim=int(spec["dim"]),
            features=str(spec["preprocessing"]["features"]),
            width=int(spec["preprocessing"]["width"]),
            model_sha256=str(spec["sha256"]["model.onnx"]),
        )

    return read_spec(model_dir, "a fitted encoder", "behaviour|device", take)
