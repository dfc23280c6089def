"""`python -m export train-text`: our own subword encoder, trained, in one ONNX file, written only if it holds up."""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from consumer.adapters.subword_encoder import padded
from consumer.adapters.subword_tokens import IDS, MAX_IDS, REVISION, features
from export import corpus, families, parity
from export.errors import ExportError
from export.subword import OPSET, Floats, Network, encode, graph, train

BATCH_DIFFERENCE_CEILING = 1e-5

NOTICE = """\
{name}

Trained from scratch by this project on generated names, places and titles{labelled}.
The file holds weights only: no record, no text and no vocabulary. Its terms are those of the project, {licence}.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=[],
        help="folders with truth.csv (id,cluster_id) and signups.jsonl or listings.jsonl; none: generated pairs only",
    )
    parser.add_argument("--name", required=True, help="name of the encoder and of its folder")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--families", type=int, default=10_000, help="generated families of four")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--check-texts", type=int, default=600)
    parser.add_argument("--min-cosine", type=float, default=0.99, help="floor of the mean cosine with the network")
    parser.add_argument("--min-found", type=float, default=0.9, help="floor of the share of typos that find their text")
    parser.add_argument("--max-bytes", type=int, default=25_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("models/onnx"))


def run(arguments: argparse.Namespace) -> None:
    """Train, export, measure, write. Raises ExportError, with nothing written, when the model is not good enough."""
    sets = [families.read(folder, arguments.seed) for folder in arguments.data]
    drawn = families.generated(arguments.families, arguments.seed)
    network = train(sets, drawn, dim=arguments.dim, steps=arguments.steps, seed=arguments.seed)
    model = graph(network).SerializeToString(deterministic=True)
    measured = measure(model, network, arguments.check_texts, arguments.seed + 1_000)
    print(json.dumps(measured))
    _check(measured, arguments)
    records = sum(len(one.texts) for one in sets)
    spec = {
        "name": arguments.name,
        "modality": "subword",
        "inputs": {"feature_ids": "int64 [n, t]", "mask": "int64 [n, t]"},
        "output": {"embedding": f"float32 [n, {arguments.dim}], unit rows"},
        "dim": arguments.dim,
        "preprocessing": {
            "features": REVISION,
            "ids": IDS,
            "max_ids": MAX_IDS,
            "pooling": "weighted sum over the mask, L2; all in the graph",
        },
        "opset": OPSET,
        "training": {
            "labelled_records": records,
            "generated_families": arguments.families,
            "steps": arguments.steps,
            "seed": arguments.seed,
        },
        "versions": {name: version(name) for name in ("torch", "onnx", "faker", "anyascii")},
        "environment": parity.environment(),
        "parity": measured,
        "sha256": {"model.onnx": sha256(model).hexdigest()},
    }
    _write(arguments.out / arguments.name, spec, model, records)


def measure(model: bytes, network: Network, count: int, seed: int) -> dict[str, float | int]:
    """The exported file against the network, on texts that neither was trained on."""
    session = parity.session(model, 1)
    texts = list(dict.fromkeys(corpus.texts(count, seed)))
    spellings = [features(text) for text in texts]
    vectors, truth = _run(session, spellings), encode(network, spellings)
    slips = _run(session, [features(text) for text in corpus.near_duplicates(texts, seed)])
    cosines = (vectors * truth).sum(1)
    longest = max(spellings, key=len)
    alone = [np.abs(_run(session, [ids, longest])[0] - _run(session, [ids])[0]).max() for ids in spellings[:64]]
    return {
        "bytes": len(model),
        "cosine_mean": round(float(cosines.mean()), 7),
        "cosine_min": round(float(cosines.min()), 7),
        "slips_found": round(float(((slips @ vectors.T).argmax(1) == np.arange(len(texts))).mean()), 4),
        "batch_difference": round(float(max(alone)), 9),
        "texts_per_second_1_thread": round(_speed(session, [corpus.signups(2_048, seed + run) for run in range(4)]), 1),
    }


def _check(measured: dict[str, float | int], arguments: argparse.Namespace) -> None:
    floors = {"cosine_mean": arguments.min_cosine, "slips_found": arguments.min_found}
    ceilings = {"bytes": arguments.max_bytes, "batch_difference": BATCH_DIFFERENCE_CEILING}
    # Written so that a NaN is a fault.
    faults = [
        f"  {name} {measured[name]}, at least {floor}" for name, floor in floors.items() if not measured[name] >= floor
    ]
    faults += [
        f"  {name} {measured[name]}, at most {top}" for name, top in ceilings.items() if not measured[name] <= top
    ]
    if faults:
        raise ExportError("the model is not good enough, nothing was written:\n" + "\n".join(faults))


def _run(session: onnxruntime.InferenceSession, spellings: Sequence[Sequence[int]]) -> Floats:
    return np.asarray(session.run(["embedding"], dict(padded(spellings)))[0], np.float32)


def _speed(session: onnxruntime.InferenceSession, runs: Sequence[Sequence[str]], batch: int = 64) -> float:
    """Median over all runs but the first, from text to vector; no text comes twice, but names do."""
    speeds = []
    for texts in runs:
        started = time.perf_counter()
        for at in range(0, len(texts), batch):
            _run(session, [features(text) for text in texts[at : at + batch]])
        speeds.append(len(texts) / (time.perf_counter() - started))
    return statistics.median(speeds[1:])


def _write(folder: Path, spec: dict[str, object], model: bytes, records: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # The spec goes last: without it a folder is no model, so an interrupted export is never taken for one.
    (folder / "spec.json").unlink(missing_ok=True)
    (folder / "model.onnx").write_bytes(model)
    labelled = f", and on {records} labelled records" if records else ""
    notice = NOTICE.format(name=spec["name"], labelled=labelled, licence="Apache-2.0")
    (folder / "NOTICE").write_text(notice, "utf-8")
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n", "utf-8")
    print(f"wrote {folder}")
