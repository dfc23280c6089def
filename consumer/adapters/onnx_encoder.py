"""Text to vectors with an ONNX model folder: `model.onnx`, `tokenizer.json` and the `spec.json` that vouches for them."""

import contextlib
import ctypes
import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states
from tokenizers import Encoding, Tokenizer

from consumer.errors import ModelError
from consumer.records import Embeddings, FieldValue, Floats

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(state for state in vars(states).values() if isinstance(state, type) and issubclass(state, Exception)),
)
"""What onnxruntime raises: classes of its own, which have no common parent, and what pybind11 makes of C++ errors."""

_FATAL, _ERROR, _WARNING = 4, 3, 2

JOINER = ", "
MAX_CHARACTERS = 2_000
"""Of a text that are read. A model of 64 tokens sees less, and a title of 10 MB is no reason to tokenise 10 MB."""

MAX_UNKNOWN = 0.25
"""Share of a text's tokens that may be unknown. Of generated Chinese names 60 % are nothing but unknown tokens to
all-MiniLM-L6-v2, of Thai ones 77 %; with a city beside them they would be told apart by the city alone."""


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
        batch_tokens: int = 8192,
    ) -> None:
        """Load and verify. `providers` None means CUDA where it works, else the CPU."""
        self._spec = read_spec(model_dir)
        model = verified(model_dir / "model.onnx", self._spec.model_sha256)
        tokenizer = verified(model_dir / "tokenizer.json", self._spec.tokenizer_sha256)
        self._tokenizer = _tokenizer(tokenizer, model_dir, self._spec.max_tokens)
        self._session = Session(model, model_dir, providers=providers, threads=threads)
        # -1 is no token: a model without a comma has nothing to leave out.
        self._joiner_id = -1 if (joiner := self._tokenizer.token_to_id(JOINER.strip())) is None else joiner
        self._fields = tuple(fields)
        self._batch_tokens = batch_tokens

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

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows, zero where absent. Raises ModelError when the runtime fails, out of memory say."""
        vectors = np.zeros((len(rows), self._spec.dim), np.float32)
        present = np.zeros(len(rows), np.bool_)
        texts = [text_of(row, self._fields) for row in rows]
        asked = [row for row, text in enumerate(texts) if text]
        encodings = self._tokenizer.encode_batch([texts[row] for row in asked])
        readable = [
            (row, encoding.ids) for row, encoding in zip(asked, encodings, strict=True) if self._is_readable(encoding)
        ]
        # By length, because a short text padded to a long one costs as much as the long one.
        readable.sort(key=lambda item: len(item[1]))
        for batch in self._batches(readable):
            chosen = [row for row, _ in batch]
            vectors[chosen] = self._run([ids for _, ids in batch])
            present[chosen] = True
        return Embeddings(vectors, present)

    def _is_readable(self, encoding: Encoding) -> bool:
        unknown = encoding.ids.count(self._spec.unknown_id)
        added = sum(encoding.special_tokens_mask) + encoding.ids.count(self._joiner_id)
        content = len(encoding.ids) - added
        return content > 0 and unknown <= MAX_UNKNOWN * content

    def _batches(self, ordered: Sequence[tuple[int, list[int]]]) -> Iterator[Sequence[tuple[int, list[int]]]]:
        """Runs of rows, shortest first, whose padded size is within the budget; at least one row each."""
        start = 0
        for at, (_, ids) in enumerate(ordered):
            if at > start and (at - start + 1) * len(ids) > self._batch_tokens:
                yield ordered[start:at]
                start = at
        if start < len(ordered):
            yield ordered[start:]

    def _run(self, tokens: Sequence[list[int]]) -> Floats:
        shape = (len(tokens), len(tokens[-1]))
        input_ids = np.full(shape, self._spec.pad_id, np.int64)
        attention_mask: npt.NDArray[np.int64] = np.zeros(shape, np.int64)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return self._session.run("embedding", {"input_ids": input_ids, "attention_mask": attention_mask})


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


def text_of(row: Mapping[str, FieldValue], fields: Sequence[str]) -> str:
    """The text of a row as it is tokenised: valid Unicode of at most MAX_CHARACTERS, empty where there is none."""
    parts = (_text(row[field]).strip() for field in fields if field in row)
    text = JOINER.join(part for part in parts if part)[:MAX_CHARACTERS]
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON may carry half a surrogate pair, which no tokenizer takes. Two halves that meet become one character.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _text(value: FieldValue) -> str:
    if isinstance(value, str):
        return value[:MAX_CHARACTERS]
    if isinstance(value, Sequence):
        return " ".join(str(part)[:MAX_CHARACTERS] for part in itertools.islice(value, MAX_CHARACTERS))
    return f"{value:g}"


def verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file whose digest is known. Raises ModelError when it is missing or another."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); export the model again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path}: its SHA-256 is {found}, spec.json says {sha256}; "
            "restore the file (a Git LFS pointer looks like this), or export the model again"
        )
    return content


def _tokenizer(content: bytes, model_dir: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{model_dir / 'tokenizer.json'}: cannot be loaded ({error}); upgrade tokenizers") from error
    return tokenizer


class Session:
    """One model, loaded. Raises ModelError when no wanted provider can run it."""

    def __init__(self, model: bytes, model_dir: Path, *, providers: Sequence[str] | None, threads: int) -> None:
        """`providers` in the order of preference; None means CUDA, then the CPU. `threads` are those of one run."""
        self._model_dir = model_dir
        wanted = (CUDA, CPU) if providers is None else tuple(providers)
        faults = []
        for provider in wanted:
            session, fault = _open(model, provider, threads)
            if session is not None:
                self._session = session
                self.provider = provider
                return
            faults.append(f"{provider}: {fault}")
        raise ModelError(
            f"{model_dir / 'model.onnx'}: no provider can run it ({'; '.join(faults) or 'none was named'}); "
            f"add {CPU} to the providers, or install what is missing"
        )

    def run(self, output: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
        """One forward pass. Raises ModelError."""
        try:
            (values,) = self._session.run([output], dict(inputs))
        except _FAILURES as error:
            shapes = {name: value.shape for name, value in inputs.items()}
            raise ModelError(
                f"{self._model_dir / 'model.onnx'}: failed on {self.provider} with inputs {shapes}: {error}; "
                "lower the batch size if memory ran out"
            ) from error
        return np.asarray(values, np.float32)


def _open(model: bytes, provider: str, threads: int) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session that really uses `provider`, or None and why not."""
    if provider not in onnxruntime.get_available_providers():
        return None, "not in this build of onnxruntime"
    if provider == CUDA and not _has_cuda_device():
        return None, "no NVIDIA driver or no device"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    # TF32 would make a GPU's vectors differ from a CPU's in the third digit.
    settings = {"use_tf32": "0"} if provider == CUDA else {}
    try:
        with _quiet() if provider != CPU else contextlib.nullcontext():
            if provider == CUDA:
                onnxruntime.preload_dlls()
            session = onnxruntime.InferenceSession(model, options, providers=[(provider, settings)])
    except _FAILURES as error:
        return None, str(error).splitlines()[0]
    if session.get_providers()[0] != provider:
        return None, "its libraries could not be loaded; are CUDA and cuDNN installed?"
    return session, ""


def _has_cuda_device() -> bool:
    """Ask the driver: onnxruntime lists CUDA where it was built for it, whether or not there is any."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No print and no log line of a provider that is only being tried; what failed is in our own message."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
