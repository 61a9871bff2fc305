"""YOLO files of every layout, against boxes that are told from the picture alone."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models import catalog
from lakesight.models.base import Image, Model, RuntimeName
from lakesight.models.detection import NmsOptions
from lakesight.models.look import look
from lakesight.models.yolo_import import Answers, find_heads, import_yolo
from lakesight.models.yolo_onnx import Head, decode

from .onnx_files import COLOURS, SIDE, STRIDES, anchors, cells, objectness, write_yolo
from .test_nms import slow_nms

HEADS: tuple[Head, ...] = ("v5", "v8", "end2end")
RUNTIMES: tuple[RuntimeName, ...] = ("openvino", "onnxruntime")
Array = npt.NDArray[np.float32]
Objects = list[tuple[str, float, list[float]]]
"""Label, score and box of every object, best first."""


def build(
    folder: Path,
    head: Head,
    runtime: RuntimeName = "auto",
    batch: int | str = 1,
    **options: float,
) -> Model:
    path = write_yolo(folder / "colours.onnx", head, batch)
    import_yolo(path, folder / "model", Answers(licence="MIT", labels=COLOURS))
    spec = catalog.spec(str(folder / "model"), "detect", dict(options), runtime)
    return catalog.build(spec, num_threads=2)


def block(width: int, height: int, colour: int, box: tuple[int, int, int, int]) -> Image:
    """Return a black picture with one bright rectangle."""
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right, colour] = 255
    return image


def means(view: Image) -> Array:
    """Return every cell's mean colour, `(cells, 3)`, by numpy."""
    pooled = []
    for stride in STRIDES:
        count = SIDE // stride
        blocks = view.reshape(count, stride, count, stride, 3) / 255
        pooled.append(blocks.mean(axis=(1, 3)).reshape(-1, 3))
    return np.concatenate(pooled).astype(np.float32)


def told(view: Image, head: Head, threshold: float, iou: float) -> Objects:
    """Return what a detector with this head must see, box by box, without numpy tricks."""
    scores, boxes = means(view), cells()
    if head == "v5":
        scores, boxes = np.tile(scores, (3, 1)) * objectness(), anchors()
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    best, classes = scores.max(axis=1), scores.argmax(axis=1).astype(np.int32)
    seen = [index for index in range(len(best)) if best[index] >= threshold]
    kept = slow_nms(corners[seen], best[seen], classes[seen], 1.0 if head == "end2end" else iou)
    chosen = [seen[index] for index in kept]
    return [(COLOURS[classes[i]], float(best[i]), corners[i].tolist()) for i in chosen]


def objects(model: Model, image: Image) -> Objects:
    found = look(model, [image])
    assert found.type == model.output.type
    return [(one["label"], one["score"], one["box"]) for one in found[0].as_py()]


def place(one: tuple[str, float, list[float]]) -> tuple[str, list[int]]:
    """Return what objects are sorted by where their scores are equal but for rounding."""
    label, _, box = one
    return label, [round(side) for side in np.clip(box, 0, SIDE)]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("head", HEADS)
def test_every_layout_gives_what_the_picture_tells(
    head: Head, runtime: RuntimeName, tmp_path: Path
) -> None:
    model = build(tmp_path, head, runtime, score_threshold=0.3, iou_threshold=0.5)
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    expected, found = sorted(told(image, head, 0.3, 0.5), key=place), objects(model, image)
    assert [score for _, score, _ in found] == sorted([s for _, s, _ in found], reverse=True)
    found.sort(key=place)
    assert len(found) == len(expected) > 20
    assert [label for label, _, _ in found] == [label for label, _, _ in expected]
    np.testing.assert_allclose([s for _, s, _ in found], [s for _, s, _ in expected], atol=1e-5)
    boxes = np.clip([box for _, _, box in expected], 0, SIDE)
    np.testing.assert_allclose([box for _, _, box in found], boxes, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((64, 64), (32, 0, 64, 32)),
        ((256, 128), (128, 0, 256, 64)),
        ((100, 200), (0, 0, 50, 100)),
        ((1280, 640), (0, 320, 640, 640)),
    ],
)
def test_boxes_come_back_in_the_originals_pixels(
    head: Head, size: tuple[int, int], box: tuple[int, int, int, int], tmp_path: Path
) -> None:
    """The rectangle covers one cell of the letterboxed view: its box is the rectangle."""
    model = build(tmp_path, head, score_threshold=0.9)
    image = block(*size, 1, box)
    drawn = model.view.place(*size)
    in_view = drawn.to_view(np.array([box], np.float64))[0]
    sides = in_view[2:] - in_view[:2]
    found = objects(model, image)
    assert {label for label, _, _ in found} == {"green"}
    within = [one for _, _, one in found]
    assert min(one[0] for one in within) >= box[0] - 1 / drawn.scale_x
    assert max(one[2] for one in within) <= box[2] + 1 / drawn.scale_x
    if size == (64, 64):
        assert max(sides) == 32
        assert list(map(float, box)) in within


def test_a_box_is_exact_after_a_letterbox() -> None:
    """A box in the original, put into the view and decoded, comes back to a rounding error."""
    view = ImageView(width=640, height=640)
    for width, height in [(1920, 1080), (333, 1001), (17, 19), (640, 640)]:
        box = np.array([[1.5, 2.25, width - 3.75, height - 4.5]])
        corners = view.place(width, height).to_view(box)
        row = np.concatenate([corners, [[0.9, 2.0]]], axis=1).astype(np.float32)
        found = decode(row, "end2end", NmsOptions()).in_original(view, width, height)
        np.testing.assert_allclose(found.boxes_xyxy, box, atol=1e-3)
        assert found.class_ids.tolist() == [2]


def test_boxes_are_clipped_and_those_in_the_border_left_out() -> None:
    view = ImageView(width=64, height=64)
    rows = np.array([[-9, 10, 70, 60, 0.9, 0], [5, 1, 20, 12, 0.8, 1]], np.float32)
    found = decode(rows, "end2end", NmsOptions()).in_original(view, 64, 32)
    assert found.boxes_xyxy.tolist() == [[0, 0, 64, 32]]


@pytest.mark.parametrize("head", HEADS)
def test_a_value_does_not_depend_on_its_batch(head: Head, tmp_path: Path) -> None:
    model = build(tmp_path, head, "onnxruntime", batch="N")
    images = [block(80, 40, number % 3, (0, 0, 8 * number, 40)) for number in range(6)]
    together = look(model, images).to_pylist()
    assert together == [look(model, [image]).to_pylist()[0] for image in images]
    assert together[0] == []
    assert look(model, []).type == model.output.type


@pytest.mark.parametrize(
    ("shape", "num_classes", "side", "heads"),
    [
        ((1, 84, 8400), 80, 640, ["v8"]),
        ((1, 25200, 85), 80, 640, ["v5"]),
        ((1, 300, 6), 80, 640, ["end2end"]),
        ((None, 84, None), 80, 640, ["v8"]),
        ((1, 102000, 85), 80, 1280, ["v5"]),
        ((1, 8400, 85), 80, 640, []),
        ((1, 116, 8400), 80, 640, []),
        ((1, 84, 8400), 79, 640, []),
        ((1, 252, 6), 1, 64, ["v5", "end2end"]),
        ((None, None, None), 80, 640, []),
        ((None, None, 6), 80, 640, ["end2end"]),
        ((1, 80, 80, 255), 80, 640, []),
    ],
)
def test_the_layout_is_told_by_the_shape(
    shape: tuple[int | None, ...], num_classes: int, side: int, heads: list[Head]
) -> None:
    assert find_heads(shape, num_classes, side, side) == heads


def test_an_import_reads_names_and_licence_from_the_file(tmp_path: Path) -> None:
    metadata = {"names": "{0: 'r', 1: 'g', 2: 'b'}", "license": "AGPL-3.0"}
    path = write_yolo(tmp_path / "My Model.onnx", "v8", metadata=metadata)
    card = import_yolo(path, tmp_path / "model", Answers(licence="AGPL-3.0"))
    assert (card.name, card.labels, card.contract["head"]) == ("my-model", ("r", "g", "b"), "v8")
    assert "AGPL-3.0" in card.provenance
    assert catalog.resolve(str(tmp_path / "model")).sha256 == card.sha256
    with pytest.raises(UserError, match=r"weights of my-model are under 'AGPL-3\.0'"):
        catalog.spec(str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (Answers(licence="MIT"), "does not name its classes"),
        (Answers(licence="MIT", labels=("a", "b")), r"\(1, 7, 84\) fits none .* for 2 classes"),
        (Answers(licence="MIT", labels=COLOURS, size=640), "takes 64x64 only, not --size 640"),
    ],
)
def test_what_is_not_certain_is_refused(answers: Answers, message: str, tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "colours.onnx", "v8")
    with pytest.raises(UserError, match=message):
        import_yolo(path, tmp_path / "model", answers)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x08\x12\x00"])
def test_a_file_that_is_no_model_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(UserError):
        import_yolo(path, tmp_path / "model", Answers(licence="MIT", labels=COLOURS))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    path = write_yolo(tmp_path / "colours.onnx", "v8")
    with pytest.raises(UserError, match="is not empty"):
        import_yolo(path, tmp_path / "model", Answers(licence="MIT", labels=COLOURS))
