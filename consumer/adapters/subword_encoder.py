"""Text to vectors with our own encoder: hashed pieces of words, a learned table, one sum. A folder made by export.

It reads any script: names meet their Latin form and their sound (`subword_tokens`), typos touch few pieces, and codes
weigh more than words because they were learned to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consumer.adapters.model_spec import read_spec, spec_says
from consumer.adapters.onnx_session import Session, verified
from consumer.adapters.subword_tokens import MAX_IDS, REVISION, features_of
from consumer.adapters.tensorrt import Shapes
from consumer.adapters.text_encoder import TextEncoder
from consumer.adapters.texts import MAX_ROWS, Ids
from consumer.errors import ModelError
from consumer.records import Integers

_GPU_BATCH_IDS = 16_384
_CPU_BATCH_IDS = 2048
"""What a processor's caches hold: a tenth faster than batches of 16,384, on one thread."""
_SHAPES = Shapes(
    *({"feature_ids": shape, "mask": shape} for shape in ((1, 1), (32, 64), (MAX_ROWS, MAX_IDS))),
)


@dataclass(frozen=True, slots=True)
class SubwordSpec:
    """What the encoder needs of `spec.json`."""

    dim: int
    features: str
    """`subword_tokens.REVISION` that the model was trained with."""
    model_sha256: str


class SubwordEncoder(TextEncoder):
    """Our own encoder. A row without a letter or a digit is absent.

    Raises ModelError when the folder is not the one its spec.json describes, was made for other features, or no wanted
    provider works.
    """

    def __init__(
        self,
        model_dir: Path,
        fields: Sequence[str],
        *,
        codes: bool = True,
        providers: Sequence[str] | None = None,
        threads: int = 1,
        batch_ids: int | None = None,
        cache_entries: int = 0,
        engines: Path | None = None,
    ) -> None:
        """Load and verify. `providers`, `threads` and `engines` are those of `Session`.

        Without `codes`, a word with a digit does not count, nor its n-grams that hold one. `batch_ids` is the most of a batch,
        padding included; None: what suits the provider.
        """
        spec = read_subword_spec(model_dir)
        if spec.features != REVISION:
            raise ModelError(
                f"{model_dir / 'spec.json'}: made for features {spec.features!r}, this version has {REVISION!r}; "
                "train the model again, or install the version that made it"
            )
        model = verified(model_dir / "model.onnx", spec.model_sha256)
        session = Session(model, model_dir, providers=providers, threads=threads, shapes=_SHAPES, engines=engines)
        super().__init__(
            session,
            fields,
            dim=spec.dim,
            parts=("subword", spec.model_sha256, REVISION, *(() if codes else ("without codes",))),
            budget=batch_ids or (_GPU_BATCH_IDS if session.on_gpu else _CPU_BATCH_IDS),
            cache_entries=cache_entries,
        )
        self._codes = codes

    def _ids(self, texts: Sequence[str]) -> Sequence[Ids]:
        return features_of(texts, codes=self._codes)

    def _inputs(self, ids: Sequence[Ids]) -> Mapping[str, Integers]:
        return padded(ids)


def padded(ids: Sequence[Ids]) -> dict[str, Integers]:
    """The graph's inputs, int64 [n, longest]: `feature_ids`, and `mask`, 1 where there is one."""
    lengths = np.array([len(one) for one in ids])
    there = np.arange(lengths.max()) < lengths[:, None]
    feature_ids: Integers = np.zeros(there.shape, np.int64)
    feature_ids[there] = np.concatenate(ids)
    return {"feature_ids": feature_ids, "mask": there.astype(np.int64)}


def is_subword(model_dir: Path) -> bool:
    """Whether the folder holds a model of this kind."""
    return spec_says(model_dir, "modality", "subword")


def read_subword_spec(model_dir: Path) -> SubwordSpec:
    """Read `spec.json`. Raises ModelError when it is missing or says too little."""

    def take(spec: Mapping[str, Any]) -> SubwordSpec:
        return SubwordSpec(
            dim=int(spec["dim"]),
            features=str(spec["preprocessing"]["features"]),
            model_sha256=str(spec["sha256"]["model.onnx"]),
        )

    return read_spec(model_dir, "a subword encoder", "train-text", take)
