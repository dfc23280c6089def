"""How close an exported model is to its source, how fast it is, and whether a row depends on its batch."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.errors import ExportError
from export.projection import Floats

Item = TypeVar("Item", bound=Sized)
"""What a model reads: a text, the pixels of a picture, the features of a record."""
Feed = Callable[[Sequence[Item]], Mapping[str, npt.NDArray[np.generic]]]
"""Items → the inputs of the graph, one row each."""
NEIGHBOURS = 10
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Reference(Generic[Item]):
    """What the source says of items that nothing was fitted on: unit rows [n, dim], the reduction included."""

    unit: str
    """What the items are, in the plural: texts, images, records."""
    items: Sequence[Item]
    """No two alike."""
    vectors: Floats
    outlier: Item
    """As different from `items` as there is, such as the longest text: rows are compared alone and in its company."""
    altered: Sequence[Item] = ()
    """Row by row the same item with a change that a duplicate may have; may be left out."""
    altered_vectors: Floats | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured of one variant."""

    unit: str
    bytes: int
    cosine_mean: float
    cosine_min: float
    """Of an item's vector with that of the source."""
    neighbours_top10: float
    """Share of each item's ten nearest that are among the ten nearest of the source, or tie with them; 0 to 1."""
    altered_found: float | None
    """Share of altered items whose nearest is the item without the change."""
    altered_found_by_source: float | None
    batch_difference: float
    """Largest difference of a component between an item alone and the item in a batch with others."""
    per_second_1_thread: float
    """Median of three runs over all items, 64 a batch, inputs made before."""

    def as_json(self) -> dict[str, float | int]:
        found = {"altered_found": self.altered_found, "altered_found_by_source": self.altered_found_by_source}
        return {
            "bytes": self.bytes,
            "cosine_mean": round(self.cosine_mean, 7),
            "cosine_min": round(self.cosine_min, 7),
            "neighbours_top10": round(self.neighbours_top10, 4),
            **{name: round(share, 4) for name, share in found.items() if share is not None},
            "batch_difference": round(self.batch_difference, 9),
            f"{self.unit}_per_second_1_thread": round(self.per_second_1_thread, 1),
        }


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Raises ExportError when it does not load on a CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common parent
        raise ExportError(f"onnxruntime cannot load it: {str(error).splitlines()[0]}") from error


def measure(model: bytes, feed: Feed[Item], reference: Reference[Item]) -> Parity:
    """Run an exported model on one thread and compare it with the source. Raises ExportError when it does not load."""
    single = session(model, 1)
    vectors = encode(single, feed, reference.items)
    found = found_by_source = None
    if reference.altered_vectors is not None:
        found = _found(encode(single, feed, reference.altered), vectors)
        found_by_source = _found(reference.altered_vectors, reference.vectors)
    cosines = (vectors * reference.vectors).sum(1)
    return Parity(
        unit=reference.unit,
        bytes=len(model),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        neighbours_top10=agreement(vectors, reference.vectors),
        altered_found=found,
        altered_found_by_source=found_by_source,
        batch_difference=_batch_difference(single, feed, reference),
        per_second_1_thread=_speed(single, feed, reference.items),
    )


def environment() -> dict[str, str]:
    """What the speeds were measured on, without naming the machine."""
    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "onnxruntime": str(onnxruntime.__version__),
        "provider": "CPUExecutionProvider",
    }


def encode(session: onnxruntime.InferenceSession, feed: Feed[Item], items: Sequence[Item], batch: int = 64) -> Floats:
    """float32 unit rows [n, dim], in the order of `items`."""
    order = sorted(range(len(items)), key=lambda row: len(items[row]))
    chosen = ([items[row] for row in order[start : start + batch]] for start in range(0, len(order), batch))
    vectors: Floats = np.concatenate([run(session, feed, some) for some in chosen])
    return np.asarray(vectors[np.argsort(order)])


def run(session: onnxruntime.InferenceSession, feed: Feed[Item], items: Sequence[Item]) -> Floats:
    """One forward pass."""
    return np.asarray(session.run(["embedding"], dict(feed(items)))[0], np.float32)


def agreement(vectors: Floats, truth: Floats, k: int = NEIGHBOURS) -> float:
    """Mean share of the `k` nearest that the truth has among its `k` nearest, or at the same distance as the last."""
    k = min(k, len(truth) - 1)
    similarity = truth @ truth.T
    np.fill_diagonal(similarity, -np.inf)
    last = np.partition(similarity, -k, axis=1)[:, -k]
    nearest = np.take_along_axis(similarity, _nearest(vectors, k), axis=1)
    return float((nearest >= last[:, None] - _TIE).mean())


def _nearest(vectors: Floats, k: int) -> npt.NDArray[np.intp]:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(-similarity, k - 1, axis=1)[:, :k]


def _found(queries: Floats, vectors: Floats) -> float:
    return float(((queries @ vectors.T).argmax(1) == np.arange(len(queries))).mean())


def _batch_difference(session: onnxruntime.InferenceSession, feed: Feed[Item], reference: Reference[Item]) -> float:
    """Over batches of several sizes, each with the outlier in it."""
    items, worst = reference.items, 0.0
    for size in (1, 2, 7, 33, 128):
        batch = run(session, feed, [*items[:size], reference.outlier])
        for row in range(0, min(size, len(items)), max(1, size // 8)):
            alone = run(session, feed, [items[row]])[0]
            worst = max(worst, float(np.abs(batch[row] - alone).max()))
    return worst


def _speed(session: onnxruntime.InferenceSession, feed: Feed[Item], items: Sequence[Item], batch: int = 64) -> float:
    ordered = sorted(items, key=len)
    fed = [dict(feed(ordered[start : start + batch])) for start in range(0, len(ordered), batch)]
    speeds = [len(items) / seconds for seconds in _runs(session, fed)]
    return statistics.median(speeds[1:])  # the first run pays for allocation


def _runs(
    session: onnxruntime.InferenceSession, fed: Sequence[Mapping[str, npt.NDArray[np.generic]]]
) -> Iterator[float]:
    for _ in range(4):
        started = time.perf_counter()
        for inputs in fed:
            session.run(["embedding"], inputs)
        yield time.perf_counter() - started


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
