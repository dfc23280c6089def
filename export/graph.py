"""An encoder's ONNX graph in fewer bytes: weights as float16 or int8, and the arithmetic they are used with.

Whatever the variant, inputs are as they were and the output `embedding` is float32 [n, dim].
"""

import copy
import logging
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_shapes
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.projection import Floats

OPSET = 20
INT8 = 127
PROJECTION = "projection_components"
"""Name of the weight of the fitted reduction, the last layer: small, and worth its exactness."""


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as float16; computed in float32."""

    def store(name: str, weight: Floats, _: int) -> _Stored:
        return [_tensor(f"{name}.half", weight.astype(np.float16))], [_cast(f"{name}.half", name)]

    return _replace(_int8_table(model, store_half=True), store)


def weights_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as int8 with a scale per output; computed in float32.

    The runtime folds Cast and Mul when it loads, so this is as fast as float32 and means the same on every provider.
    `DequantizeLinear` would say it shorter, but onnxruntime turns that into integer arithmetic on some processors.
    """

    def store(name: str, weight: Floats, outputs: int) -> _Stored:
        others = tuple(axis for axis in range(weight.ndim) if axis != outputs)
        scale = np.maximum(np.abs(weight).max(others, keepdims=True), 1e-12) / INT8
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
    projection = [node.name for node in model.graph.node if node.op_type == "MatMul" and _is_projection(node.input[1])]
    quantizer = MatMulNBitsQuantizer(_int8_table(model), algo_config=config, nodes_to_exclude=projection)
    quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def compute_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Computed in float16 between float32 inputs and outputs; the projection and the last L2 stay float32.

    They are taken off, the rest is converted, they are put back: told to leave nodes as they are, the converter casts
    every value between them down and up again.
    """
    front = copy.deepcopy(model)
    for at, node in enumerate(front.graph.node):
        node.name = f"{node.op_type}_{at}"
    last = _last_nodes(front)
    read = {name for node in last for name in node.input}
    made = {name for node in last for name in node.output}
    kinds = {value.name: value.type.tensor_type.elem_type for value in infer_shapes(front).graph.value_info}
    outputs = list(front.graph.output)
    _set_nodes(front, [node for node in front.graph.node if node.output[0] not in made])
    given = {name for node in front.graph.node for name in node.output}
    own = _own_constants(front, last, read)
    _set_outputs(
        front,
        [
            helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), None)
            for name in sorted(read & given)
        ],
    )
    halved: onnx.ModelProto = convert_float_to_float16(front, keep_io_types=True)
    halved.graph.node.extend(last)
    halved.graph.initializer.extend(own)
    _set_outputs(halved, outputs)
    return halved


Variants = Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]]

STORED: Variants = {"fp32": copy.deepcopy, "fp16": half, "int8": weights_int8}
"""Those that only store weights in another way: the same operators, on every provider."""

FOR_GPUS: Variants = {"fp16-compute": compute_half}
"""Slower on a CPU, which has no such arithmetic: never taken unless asked for."""

VARIANTS: Variants = {**STORED, "int8-blocks": compute_int8, **FOR_GPUS}
"""From the closest to the source to the farthest, those for GPUs apart."""

_NORMALISING = frozenset({"Sub", "Div", "ReduceL2", "Max", "Clip", "Expand", "Shape"})
_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def _replace(model: onnx.ModelProto, store: Callable[[str, Floats, int], _Stored]) -> onnx.ModelProto:
    """Store each constant weight of two dimensions or more; `store` gets its name, values and the axis of outputs."""
    graph, nodes = model.graph, []
    weights = {name: tensor for name, tensor in _tables(model).items() if not _is_projection(name)}
    for node in graph.node:
        outputs = _outputs_axis(node)
        tensor = weights.pop(node.input[1], None) if outputs is not None else None
        if tensor is None or outputs is None:
            continue
        tensors, made = store(tensor.name, numpy_helper.to_array(tensor), outputs % len(tensor.dims))
        graph.initializer.remove(tensor)
        graph.initializer.extend(tensors)
        nodes += made
    _set_nodes(model, [*nodes, *graph.node])
    return model


def _outputs_axis(node: onnx.NodeProto) -> int | None:
    """The axis of a node's second input that its outputs run along; None for a node without weights."""
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return {"MatMul": -1, "Conv": 0}.get(node.op_type)


def _tables(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The float32 weights of two dimensions or more, by name; what is stored in fewer bytes already is not among them."""
    float32 = onnx.TensorProto.FLOAT
    return {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == float32 and len(tensor.dims) > 1 and tensor.dims[-1] > 1
    }


def _own_constants(model: onnx.ModelProto, nodes: list[onnx.NodeProto], read: set[str]) -> list[onnx.TensorProto]:
    """The constants that `nodes` read, by names of their own, for what else reads them is going to be float16."""
    own = []
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in read]:
        kept = copy.deepcopy(tensor)
        kept.name = f"exact_{tensor.name}"
        own.append(kept)
        for node in nodes:
            node.input[:] = [kept.name if name == tensor.name else name for name in node.input]
        if not any(tensor.name in node.input for node in model.graph.node):
            model.graph.initializer.remove(tensor)
    return own


def _last_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes from the projection on, or of the last L2 where there is none, in their order."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    last: set[str] = set()
    values = ["embedding"]
    while values:
        node = made_by.get(values.pop())
        if node is None or node.name in last:
            continue
        projects = node.op_type == "MatMul" and any(map(_is_projection, node.input))
        if projects or node.op_type in _NORMALISING:
            last.add(node.name)
            values += node.input
    return [copy.deepcopy(node) for node in model.graph.node if node.name in last]


def _is_projection(name: str) -> bool:
    return name.endswith(PROJECTION)


def _int8_table(model: onnx.ModelProto, store_half: bool = False) -> onnx.ModelProto:
    """A copy whose word table is int8 with a scale per row, or float16: half of a small model is this table."""
    model = copy.deepcopy(model)
    nodes: list[onnx.NodeProto] = []
    weights = _tables(model)
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[0] not in weights or node.input[1] != "input_ids":
            nodes.append(node)
            continue
        tensor, out = weights.pop(node.input[0]), node.output[0]
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


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give values other names: wherever they are made, stored or read. The inputs of the graph keep theirs."""
    for node in model.graph.node:
        for values in (node.input, node.output):
            for at, value in enumerate(values):
                values[at] = names.get(value, value)
    for value in (*model.graph.output, *model.graph.initializer):
        value.name = names.get(value.name, value.name)


def _set_outputs(model: onnx.ModelProto, outputs: list[onnx.ValueInfoProto]) -> None:
    kept = [copy.deepcopy(value) for value in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)


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
