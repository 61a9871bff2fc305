"""ONNX with NMS inside, run by two engines, against our own NMS on the same tensors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from lakesight.exporting.base import Source, as_input
from lakesight.exporting.onnx_nms import RAW, SuppressedReader, convert
from lakesight.exporting.parity import of_objects
from lakesight.models import catalog
from lakesight.models.detection import NmsOptions
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.reading import Reader, YoloOptions
from lakesight.models.yolo_import import Answers, import_yolo
from lakesight.runtimes.base import Network, RuntimeOptions
from lakesight.runtimes.engines import readers
from lakesight.scenes import generate
from tests.yolo_folders import check_same_objects


@pytest.mark.parametrize(
    ("task", "thresholds"),
    [
        ("detect", (0.25, 0.6, 300)),
        ("detect", (0.0, 0.3, 300)),
        ("segment", (0.001, 0.7, 300)),
        ("pose", (0.5, 0.3, 4)),
    ],
)
def test_it_leaves_what_our_nms_leaves(
    task: Task,
    thresholds: tuple[float, float, int],
    tiny_source: Callable[[Task], Source],
    tmp_path: Path,
) -> None:
    names = ("score_threshold", "iou_threshold", "max_detections")
    values = dict(zip(names, thresholds, strict=True))
    source = replace(tiny_source(task), nms=NmsOptions.model_validate(values))
    written = convert(source, tmp_path)
    side = source.view.width
    network = Network(
        width=side, height=side, layout="NCHW", scale=(255.0,) * 3,
        outputs=(*source.outputs, RAW),
    )  # fmt: skip
    views = [generate(3, index, side).pixels for index in range(4)]
    options = YoloOptions.model_validate(values)
    told = (source.contract, source.labels, source.view, options)
    engines = [engine for engine in readers(written.main) if engine.here()]
    assert {"openvino", "onnxruntime"} <= {engine.runtime for engine in engines}
    for engine in engines:
        opened = engine.open(tmp_path / written.main, network, RuntimeOptions())
        tensors = opened.infer(views)
        ours = Reader(*told).kept(tensors[RAW])
        theirs = SuppressedReader(*told).kept(tensors["output_0"])
        assert min(len(one.scores) for one in ours) > 0
        assert max(len(one.scores) for one in ours) <= thresholds[2]
        assert of_objects(source.contract, ours, theirs).beyond() is None
        for rows, one in zip(tensors["output_0"], theirs, strict=True):
            assert not rows[len(one.scores) :].any(), "what fills up is 0"
            assert (np.diff(rows[:, 4]) <= 0).all(), "by falling score"


def test_others_may_import_it(tiny_source: Callable[[Task], Source], tmp_path: Path) -> None:
    """As what it is: a detector whose objects are told in corners."""
    source = tiny_source("detect")
    written = convert(source, tmp_path)
    answers = Answers(licence="MIT", labels=source.labels, head="end2end")
    import_yolo(tmp_path / written.main, tmp_path / "imported", answers)
    model = catalog.build(catalog.spec(str(tmp_path / "imported")))
    views = [generate(3, index, source.view.width).pixels for index in range(3)]
    pixels = torch.from_numpy(np.concatenate([as_input(view) for view in views]))
    with torch.inference_mode():
        tensors = {"output_0": source.module(pixels)[0].numpy()}
    rows = pa.table({"width": [source.view.width] * 3, "height": [source.view.height] * 3})
    reader = Reader(source.contract, source.labels, source.view, YoloOptions())
    wanted = reader.read(tensors, rows).to_pylist()
    found = model.predict(views, rows).to_pylist()
    assert sum(map(len, wanted)) > 10
    check_same_objects(found, wanted)
