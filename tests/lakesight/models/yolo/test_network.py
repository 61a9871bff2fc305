"""The network, against the published tables and a slow reading of its outputs."""

import math
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lakesight.errors import UserError
from lakesight.models.yolo.architecture import Size, Task
from lakesight.models.yolo.fuse import fuse
from lakesight.models.yolo.heads import Classify, Detect
from lakesight.models.yolo.network import Inference, Network, for_inference
from lakesight.models.yolo.outputs import Logits, Raw
from tests.yolo_folders import build_network

from .reference import LAYERS, Reference

SIZES: tuple[Size, ...] = get_args(Size)
TASKS: tuple[Task, ...] = get_args(Task)

PUBLISHED: dict[Task, tuple[int, int, list[float], list[float]]] = {
    "detect": (80, 640, [3.2, 11.2, 25.9, 43.7, 68.2], [8.7, 28.6, 78.9, 165.2, 257.8]),
    "segment": (80, 640, [3.4, 11.8, 27.3, 46.0, 71.8], [12.6, 42.6, 110.2, 220.5, 344.1]),
    "pose": (1, 640, [3.3, 11.6, 26.4, 44.4, 69.4], [9.2, 30.2, 81.0, 168.6, 263.2]),
    "obb": (15, 1024, [3.1, 11.4, 26.4, 44.5, 69.5], [23.3, 76.3, 208.6, 433.8, 676.7]),
    "classify": (1000, 640, [2.7, 6.4, 17.0, 37.5, 57.4], [4.3, 13.5, 42.7, 99.7, 154.8]),
}
"""Classes, side of the input, million parameters and GFLOPs of n to x: the public model tables."""

EXACT = {"n": 3157200, "s": 11166560, "m": 25902640, "l": 43691520, "x": 68229648}
"""Parameters of detection with 80 classes, from the public model summaries."""


def flops(network: Network, side: int) -> float:
    """Return the operations of a network on a square, on the meta device.

    Two a multiply-add of convolutions, BatchNorm folded.
    """
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        Inference(network.eval())(torch.empty(1, 3, side, side))
    return counter.get_total_flops()


def fitted_flops(network: Network, side: int) -> float:
    """Return the operations as the public tables seem to count those of three tasks.

    Nobody says how these were counted. Plain counting gives other figures, and these habits are
    chosen so that all five sizes of a task agree: a transposed convolution counts its whole
    kernel for each output (segment); the linear layer is scaled from 32 px by area (classify);
    BatchNorm is counted, at 8 a value, of a network of 80 classes (obb). So the figures say that
    sizes and layers are as published, not that a picture costs so much.
    """
    extra = 0.0

    def habit(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal extra
        match module:
            case torch.nn.ConvTranspose2d(in_channels=channels, kernel_size=(high, wide)):
                extra += 2 * output.numel() * channels * (high * wide - 1)
            case torch.nn.Linear(in_features=channels):
                extra += 2 * output.numel() * channels * ((side / 32) ** 2 - 1)
            case torch.nn.BatchNorm2d() if network.architecture.task == "obb":
                extra += 8 * output.numel()

    for module in network.modules():
        module.register_forward_hook(habit)
    counted = flops(network, side)
    return counted + extra


def small(task: Task, num_classes: int = 3, **more: Any) -> Network:
    """Return a network of every layer, a fourth as wide as n, its statistics unlike the start's."""
    torch.manual_seed(0)
    network = build_network(task, "n", num_classes, width=0.0625, **more)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_var, module.weight):
                cast("Tensor", values).data.uniform_(0.5, 1.5)
            for values in (module.running_mean, module.bias):
                cast("Tensor", values).data.normal_(0, 0.2)
    return network.eval()


def pixels(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def raw(network: Network, batch: Tensor) -> Raw:
    with torch.no_grad():
        return cast("Raw", network(batch))


def published(task: Task, number: int, num_classes: int | None = None) -> Network:
    """Return the network of a published size, on the meta device."""
    with torch.device("meta"):
        return build_network(task, SIZES[number], num_classes or PUBLISHED[task][0])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", range(5), ids=SIZES)
def test_parameters_are_the_published_ones(task: Task, number: int) -> None:
    count = sum(values.numel() for values in published(task, number).parameters())
    millions = PUBLISHED[task][2][number]
    assert count / 1e6 == pytest.approx(millions, abs=0.1)  # some are cut, some rounded
    assert task != "detect" or count == EXACT[SIZES[number]]


@pytest.mark.parametrize("task", ["detect", "pose"])
@pytest.mark.parametrize("number", range(5), ids=SIZES)
def test_operations_of_detect_and_pose_are_the_published_ones(task: Task, number: int) -> None:
    _, side, _, gflops = PUBLISHED[task]
    assert flops(published(task, number), side) / 1e9 == pytest.approx(gflops[number], abs=0.1)


@pytest.mark.parametrize("task", ["segment", "obb", "classify"])
@pytest.mark.parametrize("number", range(5), ids=SIZES)
def test_operations_of_other_tasks_fit_the_published_ones_by_habits_of_the_tables(
    task: Task, number: int
) -> None:
    """Fitted: see `fitted_flops`."""
    _, side, _, gflops = PUBLISHED[task]
    network = published(task, number, 80 if task == "obb" else None)
    assert fitted_flops(network, side) / 1e9 == pytest.approx(gflops[number], abs=0.1)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("detect", ["model.0.conv.weight", "model.0.bn.running_var"]),
        ("detect", ["model.2.cv1.conv.weight", "model.2.m.0.cv1.conv.weight"]),
        ("detect", ["model.9.cv1.conv.weight", "model.21.cv2.bn.bias"]),
        ("detect", ["model.22.cv2.0.0.conv.weight", "model.22.cv3.2.2.bias"]),
        ("detect", ["model.22.dfl.conv.weight"]),
        ("segment", ["model.22.proto.upsample.bias", "model.22.proto.cv3.conv.weight"]),
        ("pose", ["model.22.cv4.0.0.conv.weight"]),
        ("obb", ["model.22.cv4.2.2.weight"]),
        ("classify", ["model.9.conv.conv.weight", "model.9.linear.weight"]),
    ],
)  # fmt: skip
def test_tensors_have_the_public_names(task: Task, names: list[str]) -> None:
    assert set(names) <= set(small(task).state_dict())


def test_the_graph_is_that_of_the_published_table() -> None:
    network = small("segment", depth=0.67)  # several blocks in a row
    batch = pixels(1, 3, 64, 96)
    values = raw(network, batch)
    reference, kept = Reference(network.state_dict()), [batch]
    for number, (kind, sources) in enumerate(LAYERS):
        inputs = [kept[-1] if source == -1 else kept[source + 1] for source in sources]
        kept.append(reference.layer(number, kind, inputs))
    levels = [kept[number + 1] for number in (15, 18, 21)]
    for found, name in ((values.boxes, "cv2"), (values.scores, "cv3"), (values.masks, "cv4")):
        wanted = reference.branch(f"model.22.{name}", levels)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    wanted = reference.prototypes(levels[0])
    torch.testing.assert_close(values.prototypes, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_folding_batch_norm_changes_no_output(task: Task) -> None:
    network = small(task)
    batch = pixels(1, 3, 64, 64)
    with torch.no_grad():
        wanted = Inference(network)(batch)
        found = Inference(fuse(network))(batch)
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in network.modules())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
    assert wanted[0].std() > 1e-3


def test_a_fresh_detector_sees_next_to_nothing() -> None:
    """The first biases: a class score of 5 objects of 80 classes in a picture of 640."""
    head = cast("Detect", build_network("detect", "n", 80, width=0.0625).head)
    for stride, box, score in zip((8, 16, 32), head.cv2, head.cv3, strict=True):
        cells = (640 / stride) ** 2
        assert torch.allclose(cast("Any", box)[-1].bias, torch.tensor(1.0))
        wanted = torch.tensor(math.log(5 / 80 / cells))
        assert torch.allclose(cast("Any", score)[-1].bias, wanted)


def test_boxes_are_what_a_slow_reading_says() -> None:
    network = small("detect")
    values = raw(network, pixels(1, 3, 64, 96))
    decoded = network.decode(values).predictions[0]
    cells = [(s, x, y) for s in (8, 16, 32) for y in range(64 // s) for x in range(96 // s)]
    assert decoded.shape == (4 + 3, len(cells))
    for anchor in (0, 13, 95, 96, 101, 119, 120, 125):
        stride, x, y = cells[anchor]
        sides = []
        for side in range(4):
            bins = values.boxes[0, side * 16 : side * 16 + 16, anchor].exp()
            sides.append(sum(i * float(bins[i] / bins.sum()) for i in range(16)))
        left, top = x + 0.5 - sides[0], y + 0.5 - sides[1]
        right, bottom = x + 0.5 + sides[2], y + 0.5 + sides[3]
        wanted = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        assert decoded[:4, anchor].tolist() == pytest.approx([stride * v for v in wanted], rel=1e-4)
        scores = [1 / (1 + math.exp(-v)) for v in values.scores[0, :, anchor].tolist()]
        assert decoded[4:, anchor].tolist() == pytest.approx(scores, rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_keypoints_are_offsets_from_the_cell(dims: Any) -> None:
    network = small("pose", num_keypoints=5, keypoint_dims=dims)
    values = raw(network, pixels(1, 3, 64, 64))
    points = network.decode(values).predictions[0, 4 + 3 :]
    assert points.shape == (5 * dims, 64 + 16 + 4)
    assert values.keypoints is not None
    anchor, (x, y), stride = 64 + 6, (2, 1), 16  # the second level is 4 cells wide
    for point in range(5):
        offsets = values.keypoints[0, point * dims : point * dims + dims, anchor].tolist()
        wanted = [(offsets[0] * 2 + x) * stride, (offsets[1] * 2 + y) * stride]
        wanted += [1 / (1 + math.exp(-v)) for v in offsets[2:]]
        found = points[point * dims : point * dims + dims, anchor].tolist()
        assert found == pytest.approx(wanted, rel=1e-4)


def test_a_rotated_box_holds_its_point_at_its_distances() -> None:
    """Distances are along the box's sides: seen from its centre, the point is where they say."""
    network = small("obb")
    values = raw(network, pixels(1, 3, 64, 64))
    decoded = network.decode(values).predictions[0]
    (x, y, width, height), angle = decoded[:4], decoded[-1]
    assert values.angles is not None
    torch.testing.assert_close(angle, (values.angles[0, 0].sigmoid() - 0.25) * math.pi)
    sides = cast("Detect", network.head).dfl(values.boxes)[0] * values.strides
    px, py = (values.points * values.strides).unbind(0)
    along = (px - x) * angle.cos() + (py - y) * angle.sin()
    across = (py - y) * angle.cos() - (px - x) * angle.sin()
    found = [width / 2 + along, height / 2 + across, width / 2 - along, height / 2 - across]
    torch.testing.assert_close(torch.stack(found), sides, atol=1e-3, rtol=1e-4)


def test_masks_come_as_coefficients_and_prototypes() -> None:
    network = small("segment")
    values = raw(network, pixels(2, 3, 64, 96))
    decoded = network.decode(values)
    assert values.masks is not None
    assert decoded.prototypes is not None
    assert decoded.prototypes.shape == (2, 32, 16, 24)
    torch.testing.assert_close(decoded.predictions[:, 4 + 3 :], values.masks)


@pytest.mark.parametrize(("multi_label", "total"), [(False, 1.0), (True, None)])
def test_classes_exclude_each_other_or_not(multi_label: bool, total: float | None) -> None:
    network = small("classify", 4, multi_label=multi_label)
    with torch.no_grad():
        logits = network(pixels(2, 3, 64, 64))
    assert isinstance(logits, Logits)
    assert cast("Classify", network.head).multi_label == multi_label
    scores = network.decode(Logits(logits.classes * 50)).predictions
    wanted = torch.sigmoid(logits.classes * 50) if total is None else None
    if wanted is not None:
        torch.testing.assert_close(scores, wanted)
    else:
        torch.testing.assert_close(scores.sum(1), torch.ones(2))


@pytest.mark.parametrize("shape", [(1, 3, 64, 70), (1, 3, 33, 64), (1, 3, 0, 64)])
def test_a_size_that_32_does_not_divide_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=f"32 divides, got {shape[3]}x{shape[2]}"):
        small("detect")(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_boxes_in_float32(dtype: torch.dtype) -> None:
    network = small("obb")
    batch = pixels(1, 3, 64, 64)
    with torch.no_grad():
        (wanted,) = Inference(network)(batch)
        (found,) = Inference(network.to(dtype))(batch.to(dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, :4], wanted[:, :4], atol=2.0, rtol=0.05)


def test_training_reaches_every_weight_but_the_bins() -> None:
    network = small("segment").train()
    values = cast("Raw", network(pixels(2, 3, 64, 64)))
    parts = [values.boxes, values.scores, values.masks, values.prototypes]
    total: Any = torch.stack([cast("Tensor", part).square().mean() for part in parts]).sum()
    total.backward()
    still = [name for name, one in network.named_parameters() if one.grad is None]
    assert still == ["model.22.dfl.conv.weight"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # both exporters announce successors
@pytest.mark.parametrize("task", ["detect", "segment", "pose"])
def test_exports_take_any_batch_and_size(task: Task, tmp_path: Path) -> None:
    module = for_inference(small(task) if task != "detect" else build_network(task, "n", 80))
    example, other = pixels(1, 3, 64, 64), pixels(2, 3, 64, 96)
    names = ["output0", "output1"][: 2 if task == "segment" else 1]
    axes = {0: "batch", 2: "height", 3: "width"}
    all_axes = {"images": axes, "output0": {0: "batch", 2: "anchors"}, "output1": axes}
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        module,
        (example,),
        path,
        input_names=["images"],
        output_names=names,
        dynamic_axes={name: all_axes[name] for name in ("images", *names)},
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]  # torch's own
    for batch in (example, other):
        with torch.no_grad():
            wanted = module(batch)
            scripted = traced(batch)
        ran = session.run(None, {"images": batch.numpy()})
        for one, two, three in zip(wanted, ran, scripted, strict=True):
            np.testing.assert_allclose(two, one.numpy(), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(three, one, atol=1e-4, rtol=1e-4)
