"""A fitted additive decider as an ONNX graph: see `consumer.adapters.onnx_decider` for what it takes and gives."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.additive import KNOTS, Additive

OPSET = 17
_IR_VERSION = 8


def graph(decider: Additive) -> bytes:
    """The model, in float64 within: sums of float32 would depend on the shape of the batch."""
    m, c, q = len(decider.modalities), len(decider.crowding), int(decider.quality)
    widths = {"similarities": m, "present": m, "crowding": c} | ({"quality": 1} if q else {})
    parts = ["of_base", "of_modalities", "of_crowding"] + (["of_quality"] if q else [])
    constants = {
        "knots": np.array(KNOTS),
        "slope": decider.slopes[:, 0],
        "bends": decider.slopes[:, 1:],
        "constant": decider.constants,
        "crowding_slope": decider.crowding_slopes,
        "intercept": np.array([[decider.intercept]]),
    }
    if decider.quality_slope is not None:
        constants["quality_slope"] = np.array([decider.quality_slope])
    initializers = [numpy_helper.from_array(np.asarray(v, np.float64), name) for name, v in constants.items()]
    initializers += [
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.zeros((), np.float64), "zero"),
    ]
    nodes = [
        *(helper.make_node("Cast", [n], [f"{n}_64"], to=TensorProto.DOUBLE) for n in widths),
        helper.make_node("Max", ["similarities_64", "zero"], ["positive"]),
        helper.make_node("Unsqueeze", ["positive", "last"], ["deep"]),
        helper.make_node("Sub", ["deep", "knots"], ["beyond"]),
        helper.make_node("Max", ["beyond", "zero"], ["above"]),
        helper.make_node("Mul", ["above", "bends"], ["bent"]),
        helper.make_node("ReduceSum", ["bent", "last"], ["bent_sum"], keepdims=0),
        helper.make_node("Mul", ["positive", "slope"], ["straight"]),
        helper.make_node("Sum", ["bent_sum", "straight"], ["curve"]),
        helper.make_node("Add", ["curve", "constant"], ["whole"]),
        helper.make_node("Mul", ["whole", "present_64"], ["of_modalities"]),
        helper.make_node("Mul", ["crowding_64", "crowding_slope"], ["of_crowding"]),
        *([helper.make_node("Mul", ["quality_64", "quality_slope"], ["of_quality"])] if q else []),
        # a column of the intercept, as long as the batch: nothing summed, the intercept added
        helper.make_node("ReduceSum", ["nothing", "across"], ["none"], keepdims=1),
        helper.make_node("Add", ["none", "intercept"], ["of_base"]),
        helper.make_node("Concat", parts, ["log_odds_64"], axis=1),
        helper.make_node("Cast", ["log_odds_64"], ["log_odds"], to=TensorProto.FLOAT),
    ]
    nodes.insert(len(widths), helper.make_node("Mul", ["present_64", "zero"], ["nothing"]))
    initializers.append(numpy_helper.from_array(np.array([1], np.int64), "across"))
    made = helper.make_graph(
        nodes,
        "decider",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in widths.items()],
        [helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["n", 1 + m + c + q])],
        initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
