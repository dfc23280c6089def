"""`python -m export train-image`: our own image encoder, trained, in one ONNX file, written only if it holds up."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from random import Random

import numpy as np
import torch

from consumer.adapters.onnx_session import CPU, Session
from consumer.adapters.pixels import Pixels, pixels
from export import choice, spec
from export.arguments import natural, positive
from export.discriminant import refit
from export.errors import ExportError
from export.evaluate.image import Report, judge, served
from export.graph import OPSET, STORED
from export.parity import Reference
from export.photos import Photo, picture, read, split
from export.projection import Floats
from export.tracing import trace
from export.transforms import jpeg, rescale
from export.views import SERVED, Supply
from export.vision import SIZE, Encoder, Shape, pretrain, tune

NOTICE = """\
Trained from scratch by this project on {photos} photos of groceries and on {drawings} drawn pictures.
The file holds weights only: no picture. Its terms are those of the project, Apache-2.0."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        help="folder with truth.csv (id,cluster_id) and img/<id>.jpg; every fourth class is kept to judge by",
    )
    parser.add_argument("--drawings", type=natural, default=1_000, help="drawn pictures beside the photos")
    parser.add_argument("--dim", type=natural, default=128)
    parser.add_argument("--width", type=positive, default=128, help="of the network; a multiple of 4")
    parser.add_argument("--depth", type=positive, default=4, help="blocks of the network")
    parser.add_argument("--units", type=positive, default=1_024, help="that look at a thumbnail in all its hangs")
    parser.add_argument("--mae-steps", type=natural, default=200, help="of pre-training as a masked autoencoder")
    parser.add_argument(
        "--first-steps", type=positive, default=500, help="of tuning to copies, the transformer by itself"
    )
    parser.add_argument("--steps", type=positive, default=350, help="of tuning to copies, all together")
    parser.add_argument("--pairs", type=positive, default=128, help="originals and copies per step of tuning")
    parser.add_argument("--fit-pairs", type=positive, default=4_096, help="copies that the last layer is fitted on")
    parser.add_argument("--check-images", type=positive, default=300)
    parser.add_argument("--queries", type=positive, default=100, help="photos per transform and strength to judge by")
    parser.add_argument("--min-recall", type=float, default=0.5, help="floor, of all transforms, at 99 %% precision")
    parser.add_argument("--seed", type=natural, default=7)
    choice.add_arguments(parser, STORED)
    parser.set_defaults(max_batch_difference=1e-5)


def run(arguments: argparse.Namespace) -> None:
    """Train, export, judge, write. Raises ExportError, with nothing written, when the model is not good enough."""
    torch.set_num_threads(1)
    seen, unseen = split(read(arguments.photos))
    if len(unseen) < 2:
        raise ExportError(f"{arguments.photos}: photos of four classes are the least: every fourth is kept to judge by")
    started = time.process_time()
    encoder, losses = trained(seen, arguments)
    minutes = (time.process_time() - started) / 60
    write(encoder, seen, unseen, {**losses, "processor_minutes": round(minutes, 1)}, arguments)


def trained(seen: Sequence[Photo], arguments: argparse.Namespace) -> tuple[Encoder, Mapping[str, float]]:
    """The network, and the mean loss at the end of each part of its training."""
    supply = Supply(seen, arguments.drawings, arguments.seed)
    torch.manual_seed(arguments.seed)
    encoder = Encoder(Shape(arguments.dim, arguments.width, arguments.depth, arguments.units))
    painted = pretrain(encoder, supply, arguments.mae_steps, arguments.seed, 2 * arguments.pairs)
    first = tune(encoder, supply, arguments.first_steps, arguments.seed + 1, arguments.pairs)
    encoder.whole = True
    last = tune(encoder, supply, arguments.steps, arguments.seed + 2, arguments.pairs)
    refit(encoder, supply, arguments.fit_pairs, arguments.seed + 3)
    return encoder, {"mae_loss": round(painted, 4), "first_loss": round(first, 4), "loss": round(last, 4)}


def write(
    encoder: Encoder,
    seen: Sequence[Photo],
    unseen: Sequence[Photo],
    training: Mapping[str, object],
    arguments: argparse.Namespace,
) -> None:
    """Export and judge a trained network, and write its folder. Raises ExportError, with nothing written."""
    encoder.eval()
    graph = trace(encoder, None, {"pixels": _blank(2)}, [{0: torch.export.Dim("n")}])
    chosen = choice.best(graph, STORED, feed, _reference(encoder, unseen[: arguments.check_images]), arguments)
    report = _judged(chosen.model, unseen, arguments)
    recall = report.shared["encoder"]
    print(f"recall at 99 % precision: {json.dumps(recall)}")
    # Written so that a NaN is a fault.
    if not recall["all"] >= arguments.min_recall:
        raise ExportError(
            f"the model finds {recall['all']:.3f} of the copies, --min-recall is {arguments.min_recall}; nothing was written"
        )
    described = {
        "name": arguments.name,
        "modality": "image",
        "inputs": {"pixels": f"uint8 [n, {SIZE}, {SIZE}, 3]"},
        "output": {"embedding": f"float32 [n, {arguments.dim}], unit rows"},
        "dim": arguments.dim,
        "preprocessing": {name: value for name, value in asdict(SERVED).items() if value is not None},
        "opset": OPSET,
        "licence": "Apache-2.0",
        "training": {**_training(seen, arguments), **training},
        "versions": {name: version(name) for name in ("torch", "onnx", "pillow", "numpy")},
        **chosen.as_json(),
        "speed": speed(chosen.model, [photo.content for photo in unseen]),
        "evaluation": _evaluation(report, recall),
    }
    body = NOTICE.format(photos=len(seen), drawings=arguments.drawings)
    folder = arguments.out / arguments.name
    spec.write(folder, described, {"model.onnx": chosen.model}, spec.notice(arguments.name, body, "Apache-2.0"))


def feed(items: Sequence[Pixels]) -> Mapping[str, Pixels]:
    return {"pixels": np.stack(items)}


def encode(encoder: Encoder, items: Sequence[Pixels], batch: int = 32) -> Floats:
    """float32 unit rows [n, dim] of the network itself."""
    rows = []
    for start in range(0, len(items), batch):
        with torch.inference_mode():
            rows.append(encoder(torch.from_numpy(np.stack(items[start : start + batch]))).numpy())
    return np.concatenate(rows)


def speed(model: bytes, contents: Sequence[bytes], batch: int = 32) -> dict[str, object]:
    """Files per second to vectors, one stream: reading is on one thread. Median of all passes but the first."""
    measured: dict[str, object] = {"batch": batch}
    for threads in (1, 2):
        describe = served("encoder", _session(model, threads), SERVED, batch)
        measured[f"images_per_second_{threads}_threads"] = _rate(contents, describe)
    measured["reading_alone"] = _rate(contents, lambda files: [pixels(one, SERVED) for one in files])
    return measured


def _rate(contents: Sequence[bytes], work: Callable[[Sequence[bytes]], object]) -> float:
    rates = []
    for _ in range(4):
        started = time.perf_counter()
        work(contents)
        rates.append(len(contents) / (time.perf_counter() - started))
    return round(statistics.median(rates[1:]), 1)


def _session(model: bytes, threads: int) -> Session:
    return Session(model, Path("trained"), providers=[CPU], threads=threads)


def _blank(count: int) -> torch.Tensor:
    return torch.zeros((count, SIZE, SIZE, 3), dtype=torch.uint8)


def _reference(encoder: Encoder, photos: Sequence[Photo]) -> Reference[Pixels]:
    items = [pixels(photo.content, SERVED) for photo in photos]
    altered = [pixels(_smaller(photo.content), SERVED) for photo in photos]
    return Reference(
        unit="images",
        items=items,
        vectors=encode(encoder, items),
        outlier=np.full_like(items[0], 255),
        altered=altered,
        altered_vectors=encode(encoder, altered),
    )


def _smaller(content: bytes) -> bytes:
    return jpeg(rescale(picture(content), Random(0), 0.3), 50)


def _judged(model: bytes, unseen: Sequence[Photo], arguments: argparse.Namespace) -> Report:
    describe = served("encoder", _session(model, 1), SERVED)
    return judge(unseen, [], [describe], arguments.queries, 0.99, arguments.seed)


def _training(seen: Sequence[Photo], arguments: argparse.Namespace) -> dict[str, object]:
    """What a spec says of the data: counts and classes; no picture, no path."""
    return {
        "photos": len(seen),
        "classes": sorted({photo.kind for photo in seen if photo.kind is not None}, key=lambda kind: (len(kind), kind)),
        "drawings": arguments.drawings,
        "mae_steps": arguments.mae_steps,
        "first_steps": arguments.first_steps,
        "steps": arguments.steps,
        "fit_pairs": arguments.fit_pairs,
        "pairs_per_step": arguments.pairs,
        "width": arguments.width,
        "depth": arguments.depth,
        "units": arguments.units,
        "seed": arguments.seed,
    }


def _evaluation(report: Report, recall: Mapping[str, float]) -> dict[str, object]:
    """The headline: recall at one threshold for all transforms, strengths pooled."""
    return {
        "recall_at_precision": report.precision,
        "photos_never_seen": report.photos,
        "queries": report.queries,
        "recall": {task: round(value, 4) for task, value in recall.items() if ", " not in task},
    }
