"""The ONNX graph that a trained subword encoder becomes: everything learned about a feature in one int8 row."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from consumer.adapters.subword_tokens import IDS
from export.subword import Network

OPSET = 20
INT8 = 127


def graph(network: Network) -> onnx.ModelProto:
    """`feature_ids` and `mask`, int64 [n, t], to `embedding`, float32 [n, dim]. The table is int8, a scale a row."""
    rows = network.rows()
    scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12) / INT8
    constants = {
        "table": np.clip(np.rint(rows / scale), -INT8, INT8).astype(np.int8),
        "scale": scale.astype(np.float32),
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
        "least": np.array(1e-12, np.float32),
        "ids": np.array(IDS, np.int64),
        "parts": np.array([1, network.later.exp().item()], np.float32),
    }
    float32 = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Mod", ["feature_ids", "ids"], ["row"]),
        helper.make_node("Div", ["feature_ids", "ids"], ["part"]),
        helper.make_node("Gather", ["parts", "part"], ["worth"]),
        helper.make_node("Gather", ["table", "row"], ["stored"]),
        helper.make_node("Cast", ["stored"], ["rows"], to=float32),
        helper.make_node("Gather", ["scale", "row"], ["scales"]),
        helper.make_node("Cast", ["mask"], ["present"], to=float32),
        helper.make_node("Mul", ["present", "worth"], ["counted"]),
        helper.make_node("Squeeze", ["scales", "last"], ["flat"]),
        helper.make_node("Mul", ["flat", "counted"], ["weights"]),
        helper.make_node("Unsqueeze", ["weights", "middle"], ["line"]),
        # One product a text: the weighted rows, as large as the batch, are never written down.
        helper.make_node("MatMul", ["line", "rows"], ["product"]),
        helper.make_node("Squeeze", ["product", "middle"], ["sum"]),
        helper.make_node("ReduceL2", ["sum", "middle"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["embedding"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "t"]) for name in ("feature_ids", "mask")
    ]
    output = helper.make_tensor_value_info("embedding", float32, ["n", rows.shape[1]])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "subword", inputs, [output], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model
