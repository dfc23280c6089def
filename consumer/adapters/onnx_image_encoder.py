"""Pictures to vectors with an ONNX model folder: `model.onnx`, and the `spec.json` that vouches for it."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final, Literal

import numpy as np

from consumer.adapters.image_store import ImageStore, Miss
from consumer.adapters.likeness import Likeness
from consumer.adapters.model_spec import read_spec
from consumer.adapters.onnx_session import Session, verified
from consumer.adapters.pixels import (
    REVISION,
    Pixels,
    Preprocessing,
    UnreadableImageError,
    measured_pixels,
    preprocessing_of,
)
from consumer.adapters.tensorrt import Shapes
from consumer.errors import ModelError
from consumer.metrics import METRICS
from consumer.records import Embeddings, FieldValue, Picture

Outcome = Literal["missing", Miss, "unreadable_format", "unreadable_pixels", "unreadable_data"]
_UNREADABLE: Final[Mapping[str, Outcome]] = {
    "format": "unreadable_format",
    "pixels": "unreadable_pixels",
    "data": "unreadable_data",
}


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What the encoder needs of `spec.json`."""

    dim: int
    preprocessing: Preprocessing
    model_sha256: str


class OnnxImageEncoder:
    """An `Encoder` of pictures: of the fields of a row, in order, the first that is there: a file's bytes, or its address.

    The rule for what is wrong with a picture: the row is absent, the metric `dedup_images` counts why, and the stream goes
    on. Reasons are `unreadable_format` (no picture), `unreadable_pixels` (too many, a decompression bomb),
    `unreadable_data` (broken or truncated), `refused` (outside the allow-list, or a redirect), `not_found`, `too_large`
    (bytes) and `unreachable`; `missing` counts rows that have none. An address that is not allowed is no dead letter:
    the list is empty by default, the rest of the record is good, and whoever writes records could otherwise stop the
    stream with addresses. It is read again when the record is sent again.

    `likeness` turns the model's vectors into the ones that are compared; without it they are compared as they are.

    Raises ModelError when the folder is not the one its spec.json describes, or no wanted provider works.
    """

    def __init__(
        self,
        model_dir: Path,
        fields: Sequence[str],
        store: ImageStore,
        *,
        likeness: Likeness | None = None,
        providers: Sequence[str] | None = None,
        threads: int = 1,
        fetches: int = 16,
        batch_seconds: float = 30.0,
        batch_images: int = 32,
        engines: Path | None = None,
    ) -> None:
        """Load and verify. `threads` are those of the model, and of decoding; `fetches` those that read addresses."""
        self._spec = read_image_spec(model_dir)
        model = verified(model_dir / "model.onnx", self._spec.model_sha256)
        self._session = Session(
            model,
            model_dir,
            providers=providers,
            threads=threads,
            shapes=_shapes(self._spec.preprocessing.size, batch_images),
            engines=engines,
        )
        self._fields = tuple(fields)
        self._store = store
        self._likeness = likeness
        self._batch_seconds = batch_seconds
        self._batch_images = batch_images
        self._pool = ThreadPoolExecutor(max(fetches, threads), thread_name_prefix="images")
        # A large picture takes a quarter of a gigabyte while it is decoded: so many at once, however many are fetched.
        self._decoders = BoundedSemaphore(threads)

    @property
    def dim(self) -> int:
        return self._likeness.dim if self._likeness else self._spec.dim

    @property
    def fingerprint(self) -> str:
        """Provider, threads and batch size are not in it: they move a component by about 1e-6."""
        parts = (
            "image",
            self._spec.model_sha256,
            REVISION,
            astuple(self._spec.preprocessing),
            self._fields,
            *((self._likeness.floor, self._likeness.reach) if self._likeness else ()),
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
        self._session.warm_up()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows, zero where absent. Raises ModelError when the runtime fails, out of memory say."""
        vectors = np.zeros((len(rows), self.dim), np.float32)
        present = np.zeros(len(rows), np.bool_)
        pictures: list[Picture | None] = [None] * len(rows)
        for chosen, batch in self._batches(rows, pictures):
            made = self._session.run("embedding", {"pixels": np.stack(batch)})
            vectors[chosen] = self._likeness(made) if self._likeness else made
            present[chosen] = True
        return Embeddings(vectors, present, pictures)

    def _batches(
        self, rows: Sequence[Mapping[str, FieldValue]], pictures: list[Picture | None]
    ) -> Iterator[tuple[list[int], list[Pixels]]]:
        """Rows that have a picture, with their pixels, a few at a time while the pool reads on; fills `pictures`."""
        until = time.monotonic() + self._batch_seconds
        chosen: list[int] = []
        batch: list[Pixels] = []
        for row, made in enumerate(self._pool.map(lambda fields: self._read(fields, until), rows)):
            METRICS.images.labels(made if isinstance(made, str) else "read").inc()
            if isinstance(made, str):
                continue
            chosen.append(row)
            batch.append(made[0])
            pictures[row] = made[1]
            if len(batch) == self._batch_images:
                yield chosen, batch
                chosen, batch = [], []
        if batch:
            yield chosen, batch

    def _read(self, fields: Mapping[str, FieldValue], until: float) -> tuple[Pixels, Picture] | Outcome:
        given = next((fields[name] for name in self._fields if name in fields), None)
        if isinstance(given, str):
            fetched = self._store.read(given, until)
            return self._decoded(fetched) if isinstance(fetched, bytes) else fetched
        return self._decoded(given) if isinstance(given, bytes) else "missing"

    def _decoded(self, content: bytes) -> tuple[Pixels, Picture] | Outcome:
        try:
            with self._decoders:
                return measured_pixels(content, self._spec.preprocessing)
        except UnreadableImageError as error:
            return _UNREADABLE[error.reason]


def _shapes(size: int, most: int) -> Shapes:
    smallest, usual, largest = ({"pixels": (n, size, size, 3)} for n in (1, min(4, most), most))
    return Shapes(smallest, usual, largest)


def read_image_spec(model_dir: Path) -> ImageSpec:
    """Read `spec.json`. Raises ModelError when it is missing or says too little."""

    def take(spec: Mapping[str, Any]) -> ImageSpec:
        if spec["modality"] != "image":
            raise ModelError(
                f"{model_dir}: is a model of modality {spec['modality']!r}; name an image model in the profile"
            )
        return ImageSpec(
            dim=int(spec["dim"]),
            preprocessing=preprocessing_of(spec["preprocessing"]),
            model_sha256=str(spec["sha256"]["model.onnx"]),
        )

    return read_spec(model_dir, "an image encoder", "image", take)
