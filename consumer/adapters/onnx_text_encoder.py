"""Text to vectors with an ONNX model folder: `model.onnx`, `tokenizer.json` and the `spec.json` that vouches for them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from consumer.adapters.onnx_session import Session, verified
from consumer.adapters.tensorrt import Shapes
from consumer.adapters.text_cache import TextCache
from consumer.adapters.texts import JOINER, MAX_CHARACTERS, MAX_ROWS, batches, text_of
from consumer.errors import ModelError
from consumer.records import Embeddings, FieldValue, Floats

MAX_UNKNOWN = 0.25
"""Share of a text's tokens that may be unknown. Of generated Chinese names 60 % are nothing but unknown tokens to
all-MiniLM-L6-v2, of Thai ones 77 %; with a city beside them they would be told apart by the city alone."""
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


class OnnxTextEncoder:
    """An `Encoder` of text: the present fields of a row, in order, joined by `", "`.

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
        self._spec = read_spec(model_dir)
        model = verified(model_dir / "model.onnx", self._spec.model_sha256)
        tokenizer = verified(model_dir / "tokenizer.json", self._spec.tokenizer_sha256)
        self._tokenizer = _tokenizer(tokenizer, model_dir, self._spec.max_tokens)
        self._session = Session(
            model,
            model_dir,
            providers=providers,
            threads=threads,
            shapes=_shapes(self._spec.max_tokens),
            engines=engines,
        )
        # -1 is no token: a model without a comma has nothing to leave out.
        self._joiner_id = -1 if (joiner := self._tokenizer.token_to_id(JOINER.strip())) is None else joiner
        self._fields = tuple(fields)
        self._cache = TextCache(cache_entries, self._spec.dim)
        self._batch_tokens = batch_tokens or (8192 if self._session.on_gpu else _CPU_BATCH_TOKENS)

    @property
    def dim(self) -> int:
        return self._spec.dim

    @property
    def fingerprint(self) -> str:
        """Provider, threads and batch size are not in it: they move a component by about 1e-6."""
        parts = (
            *("text", self._spec.model_sha256, self._spec.tokenizer_sha256),
            *(self._spec.max_tokens, MAX_CHARACTERS, MAX_UNKNOWN, JOINER, self._fields),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def provider(self) -> str:
        """The execution provider in use, such as `CUDAExecutionProvider`."""
        return self._session.provider

    @property
    def passed_over(self) -> Sequence[str]:
        """Each provider that was preferred, and why it does not work here."""
        return self._session.passed_over

    def warm_up(self) -> None:
        self._tokenizer.encode_batch(["Ann Lee, Leeds"])
        self._session.warm_up()

    def forget(self) -> None:
        self._cache.forget()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows, zero where absent. Raises ModelError when the runtime fails, out of memory say."""
        return self._cache.encode([text_of(row, self._fields) for row in rows], self._compute)

    def _compute(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.zeros((len(texts), self._spec.dim), np.float32)
        present = np.zeros(len(texts), np.bool_)
        encodings = self._tokenizer.encode_batch(texts)
        readable = [(row, encoding.ids) for row, encoding in enumerate(encodings) if self._is_readable(encoding)]
        # By length, because a short text padded to a long one costs as much as the long one.
        readable.sort(key=lambda item: len(item[1]))
        for batch in batches(readable, self._batch_tokens):
            chosen = [row for row, _ in batch]
            vectors[chosen] = self._run([ids for _, ids in batch])
            present[chosen] = True
        return Embeddings(vectors, present)

    def _is_readable(self, encoding: Encoding) -> bool:
        unknown = encoding.ids.count(self._spec.unknown_id)
        added = sum(encoding.special_tokens_mask) + encoding.ids.count(self._joiner_id)
        content = len(encoding.ids) - added
        return content > 0 and unknown <= MAX_UNKNOWN * content

    def _run(self, tokens: Sequence[list[int]]) -> Floats:
        shape = (len(tokens), len(tokens[-1]))
        input_ids = np.full(shape, self._spec.pad_id, np.int64)
        attention_mask: npt.NDArray[np.int64] = np.zeros(shape, np.int64)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return self._session.run("embedding", {"input_ids": input_ids, "attention_mask": attention_mask})


def _shapes(max_tokens: int) -> Shapes:
    smallest, usual, largest = (
        {"input_ids": shape, "attention_mask": shape} for shape in ((1, 1), (32, 12), (MAX_ROWS, max_tokens))
    )
    return Shapes(smallest, usual, largest)


def read_spec(model_dir: Path) -> Spec:
    """Read `spec.json`. Raises ModelError when it is missing or says too little."""
    path = model_dir / "spec.json"
    try:
        spec = json.loads(path.read_bytes())
        preprocessing, digests = spec["preprocessing"], spec["sha256"]
        return Spec(
            dim=int(spec["dim"]),
            max_tokens=int(preprocessing["max_tokens"]),
            pad_id=int(preprocessing["pad_id"]),
            unknown_id=int(preprocessing["unknown_id"]),
            model_sha256=str(digests["model.onnx"]),
            tokenizer_sha256=str(digests["tokenizer.json"]),
        )
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); point to a folder made by export") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is not the spec of a text encoder ({error!r}); export the model again") from error


def _tokenizer(content: bytes, model_dir: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{model_dir / 'tokenizer.json'}: cannot be loaded ({error}); upgrade tokenizers") from error
    return tokenizer
