"""A detector that finds nothing, as a model folder: one pooling, times zero."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lakesight.models.yolo_import import Answers, import_yolo

SIDE = 32


def make_nothing(folder: Path) -> str:
    """Return the path of a model folder whose every score is 0, for pictures of 32 x 32 pixels."""
    shutil.rmtree(folder, ignore_errors=True)
    file = folder.with_suffix(".onnx")
    zeros = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "zeros")
    shape = numpy_helper.from_array(np.array([1, 1, 6]), "shape")
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Mul", ["mean", "zeros"], ["nothing"]),
        helper.make_node("Concat", ["nothing", "nothing"], ["six"], axis=1),
        helper.make_node("Reshape", ["six", "shape"], ["output0"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 6])
    graph = helper.make_graph(nodes, "nothing", [images], [output], [zeros, shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    answers = Answers(licence="Apache-2.0", labels=("nothing",), head="end2end", name="nothing")
    import_yolo(file, folder, answers)
    return str(folder)
