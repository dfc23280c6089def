"""Small graphs of a fitted matrix: features of a record in, unit rows out. Made node by node; no torch."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from consumer.records import Doubles
from export.graph import OPSET

LEAST = 1e-12
"""Shortest vector that is brought to length 1; shorter ones stay near zero."""
_IR = 9


def product(weights: Doubles) -> onnx.ModelProto:
    """`features` [n, width] times `weights` [width, dim], L2."""
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        *unit("product", "embedding"),
    ]
    return _model(nodes, {"weights": weights}, weights.shape[0], weights.shape[1])


def habit(weights: Doubles, chance: int) -> onnx.ModelProto:
    """The behaviour encoder's vector with `weights` [habit, dim] in place of its baseline.

    `features` are the habit, the trust in it, and `chance` columns drawn from the times, a unit row.
    """
    known, dim = weights.shape
    cuts = {"zero": 0, "known": known, "chance_from": known + 1, "end": known + 1 + chance}
    nodes = [
        helper.make_node("Slice", ["features", "zero", "known", "axis"], ["habit"]),
        helper.make_node("Slice", ["features", "known", "chance_from", "axis"], ["trust"]),
        helper.make_node("Slice", ["features", "chance_from", "end", "axis"], ["chance"]),
        helper.make_node("MatMul", ["habit", "weights"], ["product"]),
        *unit("product", "habit_unit"),
        helper.make_node("Sqrt", ["trust"], ["trust_root"]),
        helper.make_node("Sub", ["one", "trust"], ["doubt"]),
        helper.make_node("Sqrt", ["doubt"], ["doubt_root"]),
        helper.make_node("Mul", ["habit_unit", "trust_root"], ["habit_part"]),
        helper.make_node("Mul", ["chance", "doubt_root"], ["chance_part"]),
        helper.make_node("Concat", ["habit_part", "chance_part"], ["both"], axis=1),
        *unit("both", "embedding"),
    ]
    constants = {name: np.array([at], np.int64) for name, at in cuts.items()}
    return _model(
        nodes,
        {"weights": weights, "axis": np.array([1], np.int64), "one": np.array(1.0), **constants},
        known + 1 + chance,
        dim + chance,
    )


def unit(source: str, target: str, prefix: str = "") -> list[onnx.NodeProto]:
    """Nodes that bring the rows of `source` to length 1; they read `unit_constants` of the same prefix."""
    return [
        helper.make_node("ReduceL2", [source, f"{prefix}columns"], [f"{prefix}{target}_length"], keepdims=1),
        helper.make_node("Max", [f"{prefix}{target}_length", f"{prefix}least"], [f"{prefix}{target}_divisor"]),
        helper.make_node("Div", [source, f"{prefix}{target}_divisor"], [target]),
    ]


def unit_constants(prefix: str = "") -> list[onnx.TensorProto]:
    """What `unit` reads."""
    return [
        numpy_helper.from_array(np.array(LEAST, np.float32), f"{prefix}least"),
        numpy_helper.from_array(np.array([1], np.int64), f"{prefix}columns"),
    ]


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, npt.NDArray[np.generic]], width: int, dim: int
) -> onnx.ModelProto:
    tensors = [
        numpy_helper.from_array(values.astype(np.float32) if values.dtype == np.float64 else values, name)
        for name, values in constants.items()
    ]
    float32 = onnx.TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "fitted",
            [helper.make_tensor_value_info("features", float32, ["n", width])],
            [helper.make_tensor_value_info("embedding", float32, ["n", dim])],
            [*tensors, *unit_constants()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR,
    )
    onnx.checker.check_model(model, full_check=True)
    return model
