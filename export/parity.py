"""How close an exported model is to its source, how fast it is, and whether a row depends on its batch."""

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.source import Floats, Source, tokens

Texts = Sequence[str]


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured on texts that the PCA was not fitted on."""

    bytes: int
    cosine_mean: float
    cosine_min: float
    """Of a text's vector with that of the torch pipeline, PCA included."""
    neighbours_top10: float
    """Share of each text's ten nearest that are also the ten nearest of the source, 0 to 1."""
    slips_found: float
    """Share of texts with a slip of the keyboard whose nearest is the text without it."""
    slips_found_by_source: float
    batch_difference: float
    """Largest difference of a component between a text alone and the text in a padded batch."""
    texts_per_second_1_thread: float
    texts_per_second_2_threads: float
    """Median of three runs over short texts (a name and a city), 64 a batch, tokenised before."""

    def as_json(self) -> dict[str, float | int]:
        return {name: round(value, 7) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Reference:
    """What the source says: unit rows [n, dim] of `texts` and of `slips`, row by row the same with a typo."""

    texts: Texts
    slips: Texts
    short: Texts
    text_vectors: Floats
    slip_vectors: Floats


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def measure(model: bytes, source: Source, reference: Reference) -> Parity:
    single, double = session(model, 1), session(model, 2)
    texts = encode(single, source, reference.texts)
    slips = encode(single, source, reference.slips)
    cosines = (texts * reference.text_vectors).sum(1)
    return Parity(
        bytes=len(model),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        neighbours_top10=_agreement(texts, reference.text_vectors),
        slips_found=_found(slips, texts),
        slips_found_by_source=_found(reference.slip_vectors, reference.text_vectors),
        batch_difference=_batch_difference(single, source, reference.texts),
        texts_per_second_1_thread=_speed(single, source, reference.short),
        texts_per_second_2_threads=_speed(double, source, reference.short),
    )


def environment() -> dict[str, str]:
    """What the speeds were measured on, without naming the machine."""
    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "onnxruntime": str(onnxruntime.__version__),
        "provider": "CPUExecutionProvider",
    }


def encode(session: onnxruntime.InferenceSession, source: Source, texts: Texts, batch: int = 64) -> Floats:
    """float32 unit rows [n, dim], in the order of `texts`."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    batches = [[texts[row] for row in order[start : start + batch]] for start in range(0, len(order), batch)]
    vectors: Floats = np.concatenate([_run(session, source, chosen) for chosen in batches])
    return np.asarray(vectors[np.argsort(order)])


def _run(session: onnxruntime.InferenceSession, source: Source, texts: Texts) -> Floats:
    ids, mask = tokens(source, texts)
    return np.asarray(session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0], np.float32)


def _agreement(vectors: Floats, truth: Floats, k: int = 10) -> float:
    """Mean share of common neighbours among the `k` nearest, each row itself left out."""
    ours, theirs = _nearest(vectors, k), _nearest(truth, k)
    return statistics.fmean(len(set(a) & set(b)) / k for a, b in zip(ours.tolist(), theirs.tolist(), strict=True))


def _nearest(vectors: Floats, k: int) -> npt.NDArray[np.intp]:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(-similarity, k, axis=1)[:, :k]


def _found(queries: Floats, vectors: Floats) -> float:
    return float(((queries @ vectors.T).argmax(1) == np.arange(len(queries))).mean())


def _batch_difference(session: onnxruntime.InferenceSession, source: Source, texts: Texts) -> float:
    """Over batches of several sizes, each padded by a text as long as the model reads."""
    longest = " ".join(texts[:64])
    worst = 0.0
    for size in (1, 2, 7, 33, 128):
        batch = _run(session, source, [*texts[:size], longest])
        for row in range(0, size, max(1, size // 8)):
            alone = _run(session, source, [texts[row]])[0]
            worst = max(worst, float(np.abs(batch[row] - alone).max()))
    return worst


def _speed(session: onnxruntime.InferenceSession, source: Source, texts: Texts, batch: int = 64) -> float:
    ordered = sorted(texts, key=len)
    fed = [tokens(source, ordered[start : start + batch]) for start in range(0, len(ordered), batch)]
    speeds = []
    for _ in range(4):
        started = time.perf_counter()
        for ids, mask in fed:
            session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})
        speeds.append(len(texts) / (time.perf_counter() - started))
    return statistics.median(speeds[1:])  # the first run pays for allocation


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
