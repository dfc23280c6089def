"""A torch module as one float32 ONNX graph, `embedding` its only output."""

import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch

from export.errors import ExportError
from export.graph import OPSET, PROJECTION, rename
from export.projection import Projection


class _Projected(torch.nn.Module):
    """Unit rows, PCA, L2."""

    def __init__(self, encoder: torch.nn.Module, projection: Projection) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.from_numpy(projection.mean))
        self.register_buffer(PROJECTION, torch.from_numpy(projection.components.T.copy()))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        low = (self.encoder(*inputs) - self.mean) @ getattr(self, PROJECTION)
        return torch.nn.functional.normalize(low, dim=1)


def trace(
    encoder: torch.nn.Module,
    projection: Projection | None,
    inputs: Mapping[str, torch.Tensor],
    free: Sequence[Mapping[int, object]],
) -> onnx.ModelProto:
    """The graph of `encoder`, whose rows are of length 1, and of the projection behind it.

    `inputs` are examples in the order of the arguments; `free` says per input which dimensions vary, as torch.export
    takes it. Raises ExportError for a model that torch cannot trace.
    """
    module = encoder if projection is None else _Projected(encoder, projection)
    # They report each step, and what they lack for models of pictures.
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["_result"],
                dynamic_shapes=tuple(free) if projection is None else (tuple(free),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ExportError(f"torch cannot write this model as an ONNX graph: {reason}") from error
        program.save(Path(folder, "model.onnx"))
        model = onnx.load(Path(folder, "model.onnx"))
    # torch names an inner value `embedding` (a lookup), so the output gets its name afterwards.
    rename(model, {"embedding": "_lookup", "_result": "embedding"})
    _anonymise(model)
    onnx.checker.check_model(model)
    return model


def _anonymise(model: onnx.ModelProto) -> None:
    """Take out the stack traces of the machine that exported: of no use to a runtime."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
