"""`python -m export pca`: an exported folder, its vectors reduced on a user's own data, as a new folder.

The projection and the normalisation are appended to the graph, so the consumer reads the new folder as it read the old.
"""

import argparse
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from export import choice, parity, projection, spec
from export.arguments import natural, positive
from export.errors import ExportError
from export.exported import Exported, load
from export.graph import PROJECTION, STORED, rename
from export.linear import unit, unit_constants
from export.parity import Item, Reference
from export.projection import Floats, Projection

_KEPT = ("modality", "inputs", "opset", "source", "training", "licence")
"""Of the old spec. What was measured of the old folder is not true of the new one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder made by export, of text, subword or image")
    parser.add_argument("--texts", type=Path, help="file with a text a line; for a model of text or subword")
    parser.add_argument("--photos", type=Path, help="folder of pictures; for a model of images")
    parser.add_argument("--dim", type=natural, required=True)
    parser.add_argument("--fit", type=positive, default=6_000, help="items to fit on, at most")
    parser.add_argument("--check", type=positive, default=600, help="other items to measure on, at most")
    parser.add_argument(
        "--min-retained", type=float, default=0.5, help="least share of the ten nearest that stay the ten nearest"
    )
    parser.add_argument("--seed", type=natural, default=7)
    choice.add_arguments(parser, STORED)


def run(arguments: argparse.Namespace) -> None:
    """Fit, measure, write. Raises ExportError, with nothing written, when too little is retained."""
    if (arguments.out / arguments.name).resolve() == arguments.model.resolve():
        raise ExportError("--name: that is the folder of the model itself; give the new one another name")
    exported = load(arguments.model)
    _reduce(exported, *exported.read(arguments), arguments)


def _reduce(
    exported: Exported[Item], fit: Sequence[Item], check: Sequence[Item], arguments: argparse.Namespace
) -> None:
    session = parity.session(exported.model, 1)
    fitted_vectors = parity.encode(session, exported.feed, fit)
    if not 0 < arguments.dim < fitted_vectors.shape[1]:
        raise ExportError(f"--dim {arguments.dim}: its vectors have {fitted_vectors.shape[1]}; take fewer, at least 1")
    fitted = projection.fit(fitted_vectors, arguments.dim)
    assert fitted is not None  # `dim` is not 0
    whole = parity.encode(session, exported.feed, check)
    retained = parity.agreement(fitted.apply(whole), whole)
    print(
        f"PCA to {arguments.dim} keeps {fitted.explained_variance:.1%} of the variance, {retained:.1%} of the ten nearest"
    )
    if not retained >= arguments.min_retained:
        raise ExportError(
            f"{retained:.3f} of the ten nearest stay the ten nearest, --min-retained is {arguments.min_retained}; take a "
            "larger --dim; nothing was written"
        )
    reference = Reference(exported.unit, check, fitted.apply(whole), outlier=max(check, key=len))
    chosen = choice.best(fold(exported.model, fitted), STORED, exported.feed, reference, arguments)
    described = {
        "name": arguments.name,
        **{key: exported.spec[key] for key in _KEPT if key in exported.spec},
        "output": {"embedding": f"float32 [n, {arguments.dim}], unit rows"},
        "dim": arguments.dim,
        "preprocessing": _preprocessing(exported),
        "pca": {
            "fitted_on": f"{len(fit)} {exported.unit} of the user",
            "vectors_sha256": sha256(fitted_vectors.tobytes()).hexdigest(),
            "explained_variance": round(fitted.explained_variance, 4),
            "retained_top10": round(retained, 4),
        },
        "reduced_from": {
            "name": exported.spec.get("name"),
            "dim": fitted_vectors.shape[1],
            "sha256": exported.spec["sha256"],
            "pca": exported.spec.get("pca"),
        },
        "versions": {name: version(name) for name in ("onnx", "scikit-learn")},
        **chosen.as_json(),
    }
    change = (
        f"Changed again: a principal component analysis to {arguments.dim} dimensions and normalisation were added."
    )
    files = {**exported.files, "model.onnx": chosen.model}
    spec.write(arguments.out / arguments.name, described, files, f"{exported.notice.rstrip()}\n\n{change}\n")


def fold(content: bytes, fitted: Projection) -> onnx.ModelProto:
    """The graph with the projection behind it; its inputs and the name of its output stay."""
    model = onnx.load_from_string(content)
    graph = model.graph
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = next(p for p in (f"pca{n}_" for n in range(len(used) + 1)) if not any(n.startswith(p) for n in used))
    rename(model, {"embedding": f"{prefix}whole"})
    graph.node.extend(
        [
            helper.make_node("Sub", [f"{prefix}whole", f"{prefix}mean"], [f"{prefix}centred"]),
            helper.make_node("MatMul", [f"{prefix}centred", f"{prefix}{PROJECTION}"], [f"{prefix}low"]),
            *unit(f"{prefix}low", "embedding", prefix),
        ]
    )
    tensors: dict[str, Floats] = {"mean": fitted.mean, PROJECTION: fitted.components.T.copy()}
    graph.initializer.extend([numpy_helper.from_array(values, f"{prefix}{name}") for name, values in tensors.items()])
    graph.initializer.extend(unit_constants(prefix))
    del graph.output[:]
    shape = ["n", len(fitted.components)]
    graph.output.append(helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model


def _preprocessing(exported: Exported[Item]) -> dict[str, object]:
    old = exported.spec["preprocessing"]
    pooling = str(old.get("pooling", "L2")).removesuffix("; all in the graph")
    return {**old, "pooling": f"{pooling}, PCA, L2; all in the graph"}
