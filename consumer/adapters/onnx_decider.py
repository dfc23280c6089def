"""A fitted decider: an ONNX graph that says what each modality adds to the log-odds, and what its fitting saw.

The folder holds `model.onnx` and `spec.json`, written by `python -m export fusion`. The graph takes `similarities`
float32 [n, m], `present` float32 [n, m] (0 or 1), `crowding` float32 [n, c] and, if it weighs quality, `quality` float32
[n, 1], and gives `log_odds` float32 [n, 1 + m + c (+ 1)]: of the base rate, of each modality, of each crowding term, of
quality. It computes in float64, so a pair does not depend on its batch.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from consumer.adapters.model_spec import read_spec
from consumer.adapters.onnx_session import CPU, Session, verified
from consumer.background import Background
from consumer.beliefs import Expectations
from consumer.errors import ModelError
from consumer.records import Bools, Doubles, Floats

_BACKGROUND = ("slope", "usual", "most")
_DECIDES = ("modalities", "crowding", "quality", "whitened", "background", "base_rate", "damping", "sha256")
"""What of `spec.json` changes decisions."""


class OnnxDecider:
    """Implements `consumer.learned_fusion.Decider`. Raises ModelError for a folder that is broken or of another kind."""

    def __init__(self, folder: Path) -> None:
        spec = _read(folder)
        try:
            self.modalities: Sequence[str] = [str(name) for name in spec["modalities"]]
            terms = spec["crowding"]
            self.crowding: Mapping[str, float] = {str(t["modality"]): float(t["similarity"]) for t in terms}
            self.quality = bool(spec.get("quality"))
            self.whitened: Sequence[str] = [str(name) for name in spec.get("whitened", ())]
            around = spec.get("background")
            self.background = Background(*(float(around[k]) for k in _BACKGROUND)) if around else None
            usual = [float(t["usual"]) for t in terms]
            self.expectations = Expectations(
                [*usual, *([None] if self.quality else [])], float(spec["base_rate"]), float(spec["damping"])
            )
            digest = str(spec["sha256"]["model.onnx"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder / 'spec.json'}: {error!r}; export the decider again") from error
        _check(folder, self)
        self._terms = len(self.expectations.usual)
        self.fingerprint = hashlib.sha256(orjson.dumps([spec.get(name) for name in _DECIDES])).hexdigest()
        model = verified(folder / "model.onnx", digest)
        self._session = Session(model, folder, providers=[CPU], threads=1)
        self._folder = folder
        nothing = np.zeros((1, len(self.modalities)), np.float32)
        self.weigh(nothing, nothing > 0, np.zeros((1, self._terms)))  # what cannot run is refused now

    def weigh(self, similarities: Floats, present: Bools, beyond: Doubles) -> Doubles:
        """See `consumer.learned_fusion.Decider`. Raises ModelError."""
        crowding, quality = np.split(beyond, [len(self.crowding)], axis=1)
        inputs = {"similarities": similarities, "present": present, "crowding": crowding}
        inputs |= {"quality": quality} if self.quality else {}
        given = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        log_odds = self._session.run("log_odds", given).astype(np.float64)
        wanted = len(similarities), 1 + len(self.modalities) + self._terms
        if log_odds.shape != wanted:
            raise ModelError(f"{self._folder}: gives {log_odds.shape} numbers for {wanted}; export the decider again")
        return log_odds


def _read(folder: Path) -> Mapping[str, Any]:
    def take(spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if spec["modality"] != "decider":
            raise ModelError(f"{folder / 'spec.json'}: not a decider; make one with `python -m export fusion`")
        return spec

    return read_spec(folder, "a decider", "fusion", take)


def _check(folder: Path, decider: OnnxDecider) -> None:
    modalities, crowding, around = set(decider.modalities), decider.crowding, decider.background
    expected = decider.expectations
    sound = 0 < expected.base_rate < 1 and 0 <= expected.damping <= 1
    sound &= len(modalities) == len(decider.modalities) and {*crowding, *decider.whitened} <= modalities
    sound &= len(expected.usual) == len(crowding) + decider.quality
    sound &= all(-1 <= cosine <= 1 for cosine in crowding.values())
    sound &= all(usual is None or 0 <= usual < math.inf for usual in expected.usual)
    sound &= around is None or (0 <= around.slope <= 1 and around.most >= 0 and math.isfinite(around.usual))
    if not sound:
        raise ModelError(
            f"{folder / 'spec.json'}: base_rate, damping, crowding, background, whitened or modalities make no sense; "
            "export the decider again"
        )
