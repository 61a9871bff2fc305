"""From the shapes of a checkpoint's tensors to the architecture that they belong to."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from lakesight.errors import UserError
from lakesight.models.yolo.architecture import SCALES, Architecture, Scale, Task

Shapes = Mapping[str, tuple[int, ...]]
HEAD = "model.22"
CLASSIFIER = "model.9.linear.weight"


def architecture_of(shapes: Shapes, keypoint_shape: Any = None) -> Architecture:
    """Return what the shapes say; `keypoint_shape` is `(K, 2 or 3)` where the file states it.

    Raises UserError where they are not of the v8 layout, or leave the keypoints open.
    """
    task = task_of(shapes)
    scale = _scale(shapes, task)
    if task == "classify":
        return _built(task, _rows(shapes, CLASSIFIER), scale)
    num_classes = _rows(shapes, f"{HEAD}.cv3.0.2.weight")
    if task != "pose":
        return _built(task, num_classes, scale)
    count, dims = _keypoints(_rows(shapes, f"{HEAD}.cv4.0.2.weight"), keypoint_shape)
    return _built(task, num_classes, scale, num_keypoints=count, keypoint_dims=dims)


def task_of(shapes: Shapes) -> Task:
    """Return the task, by which branches the head has."""
    if CLASSIFIER in shapes:
        return "classify"
    if f"{HEAD}.cv3.0.2.weight" not in shapes:
        heads = sorted({name.split(".")[1] for name in shapes if ".dfl." in name})
        seen = f"its head is layer {heads[0]}" if heads else "it has no such head"
        raise UserError(
            f"expected a YOLO in the v8 layout, whose head is layer 22, but {seen}: export the "
            "model to ONNX and import that"
        )
    if any(name.startswith(f"{HEAD}.proto.") for name in shapes):
        return "segment"
    if f"{HEAD}.cv4.0.2.weight" not in shapes:
        return "detect"
    return "obb" if _rows(shapes, f"{HEAD}.cv4.0.2.weight") == 1 else "pose"


def _scale(shapes: Shapes, task: Task) -> Scale:
    """Return the published scale that fits, else one that the shapes give."""
    third, fourth = (_num_blocks(shapes, layer) for layer in (2, 4))
    narrow, wide = (_rows(shapes, f"model.{layer}.conv.weight") for layer in (3, 7))
    for scale in SCALES.values():
        most = 1024 if task == "classify" else scale.max_channels
        kind = _built("detect", 1, scale._replace(max_channels=most))
        if (kind.blocks(3), kind.blocks(6)) != (third, fourth):
            continue
        if (kind.channels(256), kind.channels(1024)) == (narrow, wide):
            return scale._replace(max_channels=most)
    width = narrow / 256
    return Scale(fourth / 6, width, max(8, round(wide / width)))


def _num_blocks(shapes: Shapes, layer: int) -> int:
    pattern = re.compile(rf"model\.{layer}\.m\.\d+\.cv1\.conv\.weight")
    return max(1, sum(pattern.fullmatch(name) is not None for name in shapes))


def _keypoints(num_values: int, stated: Any) -> tuple[int, Literal[2, 3]]:
    match stated:
        case [int(count), 2 | 3 as dims] if count * dims == num_values:
            return count, dims
    fitting: list[Literal[2, 3]] = [dims for dims in (2, 3) if num_values % dims == 0]
    if len(fitting) != 1:
        raise UserError(
            f"the pose head gives {num_values} values a cell, which "
            + (
                f"are {num_values // 2} points of 2 or {num_values // 3} of 3"
                if fitting
                else "are neither points of 2 nor of 3"
            )
            + ", and the file does not say: export the model to ONNX and import that"
        )
    return num_values // fitting[0], fitting[0]


def _rows(shapes: Shapes, name: str) -> int:
    """Return the first side of a tensor's shape."""
    shape = shapes.get(name)
    if not shape or not shape[0]:
        raise UserError(f"expected a YOLO in the v8 layout, but there is no tensor {name}")
    return shape[0]


def _built(task: Task, num_classes: int, scale: Scale, **keypoints: Any) -> Architecture:
    return Architecture(task=task, num_classes=num_classes, **scale._asdict(), **keypoints)
