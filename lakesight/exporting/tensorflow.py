"""A TensorFlow SavedModel, from ONNX."""

import os
from pathlib import Path

from lakesight.exporting.base import INPUT, Source, Written, quietly
from lakesight.exporting.onnx import static
from lakesight.runtimes.one_by_one import hushed

MAIN = "model.savedmodel"


def convert(source: Source, folder: Path) -> Written:
    """Write the folder `model.savedmodel`; it takes `(1, H, W, 3)` and gives `source.outputs`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quietly(), hushed():
        import onnx
        import tensorflow as tf

        from lakesight.exporting.tf_graph import run

        graph = onnx.load(static(source)).graph
        _, channels, height, width = source.shape
        taken = tf.TensorSpec((1, height, width, channels), tf.float32, INPUT)
        module = tf.Module()
        module.look = tf.function(lambda images: run(graph, images), input_signature=[taken])
        tf.saved_model.save(module, str(folder / MAIN), signatures=module.look)
    return Written(MAIN, layout="NHWC")
