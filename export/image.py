"""`python -m export image`: a vision encoder, its preprocessing and a PCA in one ONNX file, written only if it holds up."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from consumer.adapters.pixels import Pixels, pixels
from export import choice, origin, projection, samples, spec
from export.arguments import natural, positive
from export.errors import ExportError
from export.graph import FOR_GPUS, OPSET, STORED
from export.parity import Reference
from export.projection import Projection
from export.tracing import trace
from export.vision_source import POOLINGS, Graph, Vision, load

_VARIANTS = {**STORED, **FOR_GPUS}
_CHANGED = """\
This folder holds a modified copy of {model}, {licence}.
Changed: converted to ONNX; scaling of pixels, pooling ({pooling}){reduction} and normalisation added to the graph;
weights stored as {variant}."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        help="folder saved by transformers, or a Hugging Face id: ViT, ViT-MAE, CLIP, ResNet …",
    )
    parser.add_argument("--source", help="what the model is known as; needed with a folder")
    parser.add_argument("--licence", help="SPDX identifier of the model's licence; needed where its card has none")
    parser.add_argument("--dim", type=natural, default=128, help="of the PCA; 0: the model's own")
    parser.add_argument(
        "--pooling", choices=POOLINGS, help="of a transformer's tokens; default: mean for ViT-MAE, else cls"
    )
    parser.add_argument("--photos", type=Path, help="folder of pictures to fit and check on; default: drawn ones")
    parser.add_argument("--fit-images", type=positive, default=1_000)
    parser.add_argument("--check-images", type=positive, default=200)
    parser.add_argument("--seed", type=natural, default=7)
    parser.add_argument(
        "--min-file-cosine",
        type=float,
        default=0.95,
        help="floor of the mean cosine from file to vector, where the model's own processor reads the file",
    )
    choice.add_arguments(parser, _VARIANTS)


def run(arguments: argparse.Namespace) -> None:
    """Export, measure, choose, write. Raises ExportError, with nothing written, when no variant is good enough."""
    found = origin.find(arguments.model, arguments.source, arguments.licence)
    vision = load(found.folder, arguments.pooling)
    sizes = arguments.fit_images, arguments.check_images, arguments.seed
    fit, check = samples.drawn(*sizes) if arguments.photos is None else samples.pictures(arguments.photos, *sizes)
    fitted = projection.fit(vision.encode([pixels(one, vision.preprocessing) for one in fit]), arguments.dim)
    if fitted is not None:
        print(f"PCA to {arguments.dim} keeps {fitted.explained_variance:.1%} of the variance")
    read = [pixels(one, vision.preprocessing) for one in check]
    compared = _reference(vision, fitted, check, read)
    from_file = float((projection.reduced(vision.encode_files(check), fitted) * compared.vectors).sum(1).mean())
    print(f"cosine of what the two readers make of a file: {from_file:.4f}")
    if not from_file >= arguments.min_file_cosine:
        raise ExportError(
            f"read here and by its own processor a picture's vectors agree by {from_file:.4f} in the mean, "
            f"--min-file-cosine is {arguments.min_file_cosine}; nothing was written"
        )
    chosen = choice.best(_graph(vision, fitted), _VARIANTS, vision.feed, compared, arguments)
    dim = compared.vectors.shape[1]
    described = {
        "name": arguments.name,
        "modality": "image",
        "inputs": {"pixels": f"uint8 [n, {vision.preprocessing.size}, {vision.preprocessing.size}, 3]"},
        "output": {"embedding": f"float32 [n, {dim}], unit rows"},
        "dim": dim,
        "preprocessing": {
            **{name: value for name, value in asdict(vision.preprocessing).items() if value is not None},
            "pooling": f"{vision.pooling}, L2{', PCA, L2' if fitted else ''}; all in the graph",
        },
        "opset": OPSET,
        "source": found.as_json(),
        "pca": _pca(arguments, fitted, fit),
        "checked_on": f"{len(check)} {_kind(arguments)}",
        "file_cosine_mean": round(from_file, 5),
        "versions": {name: version(name) for name in ("torch", "transformers", "onnx", "pillow", "scikit-learn")},
        **chosen.as_json(),
    }
    notice = _CHANGED.format(
        model=found.model,
        licence=found.licence,
        pooling=vision.pooling,
        reduction="" if fitted is None else f", a principal component analysis to {arguments.dim} dimensions",
        variant=chosen.variant,
    )
    spec.write(
        arguments.out / arguments.name,
        described,
        {"model.onnx": chosen.model},
        spec.notice(arguments.name, notice, found.licence),
    )


def _reference(
    vision: Vision, fitted: Projection | None, check: Sequence[bytes], read: Sequence[Pixels]
) -> Reference[Pixels]:
    copies = [pixels(samples.smaller(one), vision.preprocessing) for one in check]
    return Reference(
        unit="images",
        items=read,
        vectors=projection.reduced(vision.encode(read), fitted),
        outlier=np.full_like(read[0], 255),
        altered=copies,
        altered_vectors=projection.reduced(vision.encode(copies), fitted),
    )


def _graph(vision: Vision, fitted: Projection | None) -> onnx.ModelProto:
    size = vision.preprocessing.size
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    return trace(Graph(vision), fitted, {"pixels": example}, [{0: torch.export.Dim("n")}])


def _pca(arguments: argparse.Namespace, fitted: Projection | None, fit: Sequence[bytes]) -> dict[str, object] | None:
    """The part of a spec that says what the reduction was fitted on; no picture, no path."""
    if fitted is None:
        return None
    return {
        "fitted_on": f"{len(fit)} {_kind(arguments)}",
        "images_sha256": sha256(b"".join(sha256(one).digest() for one in fit)).hexdigest(),
        "seed": arguments.seed,
        "explained_variance": round(fitted.explained_variance, 4),
    }


def _kind(arguments: argparse.Namespace) -> str:
    return "drawn pictures" if arguments.photos is None else "photos of the user"
