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
from export import corpus, families, labelled, parity
from export.arguments import folder_name, natural, positive
from export.errors import ExportError
from export.families import Family
from export.labelled import LabelledSet
from export.subword import Floats, Network, encode, train
from export.subword_graph import OPSET, graph

LICENCE = "Apache-2.0"
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
    parser.add_argument("--name", type=folder_name, required=True, help="name of the encoder and of its folder")
    add_size(parser)
    parser.add_argument("--check-texts", type=positive, default=600)
    parser.add_argument("--min-cosine", type=float, default=0.99, help="floor of the mean cosine with the network")
    parser.add_argument("--min-found", type=float, default=0.9, help="floor of the share of typos that find their text")
    parser.add_argument("--max-bytes", type=positive, default=25_000_000)
    parser.add_argument("--cross-domain-f1", type=float, help="mean of python -m export.evaluate text, for spec.json")
    parser.add_argument("--seed", type=natural, default=7)
    parser.add_argument("--out", type=Path, default=Path("models/onnx"))


def add_size(parser: argparse.ArgumentParser) -> None:
    """What the evaluation trains with too."""
    parser.add_argument("--dim", type=natural, default=184)
    parser.add_argument("--families", type=positive, default=10_000, help="generated families of four")
    parser.add_argument("--people", type=float, default=families.PEOPLE, help="share of them that are of people")
    parser.add_argument("--steps", type=positive, default=600)


def run(arguments: argparse.Namespace) -> None:
    """Train, export, measure, write. Raises ExportError, with nothing written, when the model is not good enough."""
    sets = [labelled.read(folder, arguments.seed) for folder in arguments.data]
    drawn = families.generated(arguments.families, arguments.seed, arguments.people)
    network = train(sets, drawn, dim=arguments.dim, steps=arguments.steps, seed=arguments.seed)
    model = graph(network).SerializeToString(deterministic=True)
    measured = measure(model, network, arguments.check_texts, arguments.seed + 1_000)
    print(json.dumps(measured))
    _check(measured, arguments)
    spec = _spec(arguments.name, arguments, arguments.seed, sets, model) | {"parity": measured}
    if arguments.cross_domain_f1 is not None:
        spec["evaluation"] = {"cross_domain_mean_best_f1": arguments.cross_domain_f1}
    _write(arguments.out / arguments.name, spec, model, sets)


def train_into(
    folder: Path, sets: Sequence[LabelledSet], drawn: Sequence[Family], arguments: argparse.Namespace, seed: int
) -> None:
    """The same training and the same file, unmeasured, for an evaluation to load."""
    network = train(sets, drawn, dim=arguments.dim, steps=arguments.steps, seed=seed)
    model = graph(network).SerializeToString(deterministic=True)
    _write(folder, _spec(folder.name, arguments, seed, sets, model), model, sets)


def trained_on(folder: Path) -> frozenset[str]:
    """Names of the sets that a model saw, from its spec.json. Raises ExportError when that does not say."""
    try:
        return frozenset(json.loads((folder / "spec.json").read_bytes())["training"]["sets"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder / 'spec.json'}: does not say what the model was trained on ({error!r})") from error


def _spec(
    name: str, arguments: argparse.Namespace, seed: int, sets: Sequence[LabelledSet], model: bytes
) -> dict[str, object]:
    return {
        "name": name,
        "modality": "subword",
        "licence": LICENCE,
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
            "sets": {one.name: len(one.texts) for one in sets},
            "labelled_records": sum(len(one.texts) for one in sets),
            "held_out": "no record of these sets: judge the model on others",
            "generated_families": arguments.families,
            "share_of_people": arguments.people,
            "steps": arguments.steps,
            "seed": seed,
        },
        "versions": {name: version(name) for name in ("torch", "onnx", "faker", "anyascii")},
        "environment": parity.environment(),
        "sha256": {"model.onnx": sha256(model).hexdigest()},
    }


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
        "neighbours_top10": round(parity.agreement(vectors, truth), 4),
        "slips_found": round(float(((slips @ vectors.T).argmax(1) == np.arange(len(texts))).mean()), 4),
        "batch_difference": round(float(max(alone)), 9),
        "texts_per_processor_second": round(
            _speed(session, [corpus.signups(2_048, seed + run) for run in range(4)]), 1
        ),
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
    """Median over all runs but the first, from text to vector, on one thread; no text comes twice, but names do.

    Of processor time, which is that of the clock where nothing else runs.
    """
    speeds = []
    for texts in runs:
        started = time.process_time()
        for at in range(0, len(texts), batch):
            _run(session, [features(text) for text in texts[at : at + batch]])
        speeds.append(len(texts) / (time.process_time() - started))
    return statistics.median(speeds[1:])


def _write(folder: Path, spec: dict[str, object], model: bytes, sets: Sequence[LabelledSet]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # The spec goes last: without it a folder is no model, so an interrupted export is never taken for one.
    (folder / "spec.json").unlink(missing_ok=True)
    (folder / "model.onnx").write_bytes(model)
    seen = f", and on {sum(len(one.texts) for one in sets)} labelled records of {len(sets)} public sets" if sets else ""
    (folder / "NOTICE").write_text(NOTICE.format(name=spec["name"], labelled=seen, licence=LICENCE), "utf-8")
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n", "utf-8")
    print(f"wrote {folder}")
