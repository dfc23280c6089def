"""An encoder as one ONNX graph: token ids in, projected unit vectors out; and the same graph in fewer bytes.

Inputs `input_ids` and `attention_mask`, int64 [n, t]; output `embedding`, float32 [n, dim].
"""

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from export.source import Floats, Projection, Source

OPSET = 20
INT8 = 127


class _Pipeline(torch.nn.Module):  # type: ignore[misc]  # torch is not there when types are checked
    """Encoder, mean over the mask, L2, PCA, L2."""

    def __init__(self, source: Source, projection: Projection) -> None:
        super().__init__()
        self.encoder = source.model
        self.register_buffer("mean", torch.from_numpy(projection.mean))
        self.register_buffer("components", torch.from_numpy(projection.components.T.copy()))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        weight = attention_mask.to(torch.float32)
        # Additive [n, 1, 1, t]: transformers takes a mask of four dimensions as it is, so none of its own mask
        # building, which depends on its version, ends up in the graph.
        bias = (1.0 - weight)[:, None, None, :] * torch.finfo(torch.float32).min
        hidden = self.encoder(input_ids=input_ids, attention_mask=bias).last_hidden_state
        total = weight.sum(1, keepdim=True).clamp(min=1.0)
        pooled = torch.nn.functional.normalize((hidden * weight.unsqueeze(-1)).sum(1) / total, dim=1)
        return torch.nn.functional.normalize((pooled - self.mean) @ self.components, dim=1)


def trace(source: Source, projection: Projection) -> onnx.ModelProto:
    """The float32 graph, with both dimensions of its inputs free."""
    rows, columns = torch.export.Dim("n"), torch.export.Dim("t", max=source.max_tokens)
    ids = torch.ones((3, 7), dtype=torch.int64)
    # They report each step, and what they lack for models of pictures; the quantiser's module turns logging on.
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Pipeline(source, projection).eval(),
            (ids, torch.ones_like(ids)),
            input_names=["input_ids", "attention_mask"],
            output_names=["_result"],
            dynamic_shapes=({0: rows, 1: columns}, {0: rows, 1: columns}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        program.save(Path(folder, "model.onnx"))
        model = onnx.load(Path(folder, "model.onnx"))
    # torch names an inner value `embedding` (a lookup), so the output gets its name afterwards.
    _rename(model, {"embedding": "_lookup", "_result": "embedding"})
    del model.graph.value_info[:]
    for node in model.graph.node:
        # Stack traces of the machine that exported, and of no use to a runtime.
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as float16; computed in float32."""

    def store(name: str, weight: Floats) -> _Stored:
        return [_tensor(f"{name}.half", weight.astype(np.float16))], [_cast(f"{name}.half", name)]

    return _replace(_int8_table(model, store_half=True), store)


def weights_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as int8 with a scale per output; computed in float32.

    The runtime folds Cast and Mul when it loads, so this is as fast as float32 and means the same on every provider.
    `DequantizeLinear` would say it shorter, but onnxruntime turns that into integer arithmetic on some processors.
    """

    def store(name: str, weight: Floats) -> _Stored:
        scale = np.maximum(np.abs(weight).max(0), 1e-12) / INT8
        tensors = [_tensor(f"{name}.int8", _rounded(weight / scale)), _tensor(f"{name}.scale", scale)]
        return tensors, [
            _cast(f"{name}.int8", f"{name}.float"),
            helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name]),
        ]

    return _replace(_int8_table(model), store)


def compute_int8(model: onnx.ModelProto, block: int = 64) -> onnx.ModelProto:
    """`MatMulNBits`: int8 weights and activations in blocks of `block` along a row, so rows stay independent."""
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, accuracy_level=4, bits=8)
    projection = [node.name for node in model.graph.node if node.op_type == "MatMul"][-1]
    quantizer = MatMulNBitsQuantizer(_int8_table(model), algo_config=config, nodes_to_exclude=[projection])
    quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


VARIANTS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": copy.deepcopy,
    "fp16": half,
    "int8": weights_int8,
    "int8-blocks": compute_int8,
}

_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def _replace(model: onnx.ModelProto, store: Callable[[str, Floats], _Stored]) -> onnx.ModelProto:
    """Store the weight of each MatMul but the last, which is the projection: small, and worth its exactness."""
    graph, nodes = model.graph, []
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constant = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    for node in constant[:-1]:
        tensor = weights.pop(node.input[1], None)
        if tensor is not None:
            tensors, made = store(tensor.name, numpy_helper.to_array(tensor))
            graph.initializer.remove(tensor)
            graph.initializer.extend(tensors)
            nodes += made
    _set_nodes(model, [*nodes, *graph.node])
    return model


def _int8_table(model: onnx.ModelProto, store_half: bool = False) -> onnx.ModelProto:
    """A copy whose word table is int8 with a scale per row, or float16: half of a small model is this table."""
    model = copy.deepcopy(model)
    nodes: list[onnx.NodeProto] = []
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[0] not in weights or node.input[1] != "input_ids":
            nodes.append(node)
            continue
        tensor, out = weights[node.input[0]], node.output[0]
        table = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-12) / INT8
        stored = table.astype(np.float16) if store_half else _rounded(table / scale)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(_tensor(f"{tensor.name}.stored", stored))
        nodes.append(helper.make_node("Gather", [f"{tensor.name}.stored", "input_ids"], [f"{out}.stored"]))
        nodes.append(_cast(f"{out}.stored", out if store_half else f"{out}.float"))
        if not store_half:
            model.graph.initializer.append(_tensor(f"{tensor.name}.scale", scale))
            nodes.append(helper.make_node("Gather", [f"{tensor.name}.scale", "input_ids"], [f"{out}.scale"]))
            nodes.append(helper.make_node("Mul", [f"{out}.float", f"{out}.scale"], [out]))
    _set_nodes(model, nodes)
    return model


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for at, value in enumerate(values):
                values[at] = names.get(value, value)
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)


def _set_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    kept = [copy.deepcopy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _rounded(values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.clip(np.rint(values), -INT8, INT8).astype(np.int8)


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> onnx.TensorProto:
    stored = values.astype(np.float32) if values.dtype == np.float64 else values
    return numpy_helper.from_array(np.ascontiguousarray(stored), name)


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=onnx.TensorProto.FLOAT)
