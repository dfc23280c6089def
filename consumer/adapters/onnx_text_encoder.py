"""Text to vectors with an ONNX model folder: `model.onnx`, `tokenizer.json` and the `spec.json` that vouches for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from consumer.adapters.model_spec import read_spec
from consumer.adapters.onnx_session import Session, verified
from consumer.adapters.tensorrt import Shapes
from consumer.adapters.text_encoder import TextEncoder
from consumer.adapters.texts import JOINER, MAX_ROWS, Ids
from consumer.errors import ModelError

MAX_UNKNOWN = 0.25
"""Share of a text's tokens that may be unknown. Of generated Chinese names 60 % are nothing but unknown tokens to
all-MiniLM-L6-v2, of Thai ones 77 %; with a city beside them they would be told apart by the city alone."""
_GPU_BATCH_TOKENS = 8192
_CPU_BATCH_TOKENS = 512
"""What a processor's caches hold: names and titles ran 1.8 and 1.6 times as fast as in batches of 8,192, on one thread."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the encoder needs of `spec.json`."""

    dim: int
    max_tokens: int
    pad_id: int
    unknown_id: int
    model_sha256: str
    tokenizer_sha256: str


class OnnxTextEncoder(TextEncoder):
    """A sentence encoder with its tokenizer.

    A row is absent when it has no text, and when more than a quarter of its tokens are unknown to the model: those all
    look alike, so two strangers in a script that it cannot read would otherwise be each other's perfect duplicate.

    Raises ModelError when the folder is not the one its spec.json describes, or no wanted provider works.
    """

    def __init__(
        self,
        model_dir: Path,
        fields: Sequence[str],
        *,
        providers: Sequence[str] | None = None,
        threads: int = 1,
        batch_tokens: int | None = None,
        cache_entries: int = 0,
        engines: Path | None = None,
    ) -> None:
        """Load and verify. `providers`, `threads` and `engines` are those of `Session`.

        `batch_tokens` is the most of a batch, padding included; None: what suits the provider.
        """
        self._spec = spec = read_text_spec(model_dir)
        model = verified(model_dir / "model.onnx", spec.model_sha256)
        tokenizer = verified(model_dir / "tokenizer.json", spec.tokenizer_sha256)
        self._tokenizer = _tokenizer(tokenizer, model_dir, spec.max_tokens)
        shapes = _shapes(spec.max_tokens)
        session = Session(model, model_dir, providers=providers, threads=threads, shapes=shapes, engines=engines)
        # -1 is no token: a model without a comma has nothing to leave out.
        self._joiner_id = -1 if (joiner := self._tokenizer.token_to_id(JOINER.strip())) is None else joiner
        super().__init__(
            session,
            fields,
            dim=spec.dim,
            parts=("text", spec.model_sha256, spec.tokenizer_sha256, spec.max_tokens, MAX_UNKNOWN),
            budget=batch_tokens or (_GPU_BATCH_TOKENS if session.on_gpu else _CPU_BATCH_TOKENS),
            cache_entries=cache_entries,
        )

    def _ids(self, texts: Sequence[str]) -> Sequence[Ids]:
        return [found.ids if self._is_readable(found) else [] for found in self._tokenizer.encode_batch(texts)]

    def _is_readable(self, encoding: Encoding) -> bool:
        unknown = encoding.ids.count(self._spec.unknown_id)
        added = sum(encoding.special_tokens_mask) + encoding.ids.count(self._joiner_id)
        content = len(encoding.ids) - added
        return content > 0 and unknown <= MAX_UNKNOWN * content

    def _inputs(self, ids: Sequence[Ids]) -> Mapping[str, npt.NDArray[np.int64]]:
        shape = (len(ids), len(ids[-1]))
        input_ids = np.full(shape, self._spec.pad_id, np.int64)
        attention_mask: npt.NDArray[np.int64] = np.zeros(shape, np.int64)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = tokens
            attention_mask[row, : len(tokens)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def _shapes(max_tokens: int) -> Shapes:
    smallest, usual, largest = (
        {"input_ids": shape, "attention_mask": shape} for shape in ((1, 1), (32, 12), (MAX_ROWS, max_tokens))
    )
    return Shapes(smallest, usual, largest)


def read_text_spec(model_dir: Path) -> Spec:
    """Read `spec.json`. Raises ModelError when it is missing or says too little."""

    def take(spec: Mapping[str, Any]) -> Spec:
        preprocessing, digests = spec["preprocessing"], spec["sha256"]
        return Spec(
            dim=int(spec["dim"]),
            max_tokens=int(preprocessing["max_tokens"]),
            pad_id=int(preprocessing["pad_id"]),
            unknown_id=int(preprocessing["unknown_id"]),
            model_sha256=str(digests["model.onnx"]),
            tokenizer_sha256=str(digests["tokenizer.json"]),
        )

    return read_spec(model_dir, "a text encoder", "text", take)


def _tokenizer(content: bytes, model_dir: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{model_dir / 'tokenizer.json'}: cannot be loaded ({error}); upgrade tokenizers") from error
    return tokenizer
