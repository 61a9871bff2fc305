"""Pictures with boxes: drawn, rendered, and looked at pixel by pixel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from lakesight import masks
from lakesight.media.view import ImageView
from lakesight.metrics import Predictions, Truth
from lakesight.models.detection import Found, to_arrow
from lakesight.plots import (
    Shown,
    beside,
    draw_data,
    draw_evaluation,
    draw_samples,
    first_batches,
    found_on,
)
from lakesight.plots.overlay import draw_picture
from lakesight.plots.style import colour
from lakesight.schemas import detection_type
from lakesight.training.sampling import Key
from lakesight.training.yolo.augment import Augmentation
from lakesight.training.yolo.batches import Augmented
from lakesight.training.yolo.datasets import Labelled, Pictures, Task
from lakesight.training.yolo.settings import TrainSettings

LABELS = ("cat", "dog")
BOX = [[20.0, 10.0, 60.0, 40.0]]
BLANK = np.full((64, 96, 3), 255, np.uint8)
SIZE = (96, 64)


def rendered(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def drawn(objects: Truth | Predictions, image: np.ndarray = BLANK) -> tuple[np.ndarray, Axes]:
    """Return what axes as large as the figure show, and the axes; a picture's pixel is 8 wide."""
    figure = Figure(figsize=(7.68, 5.12), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_picture(axes, image, SIZE, objects, LABELS)
    return rendered(figure), axes


def at(pixels: np.ndarray, x: float, y: float) -> list[int]:
    found: list[int] = pixels[round(y * 8), round(x * 8)].tolist()
    return found


def ink(class_id: int) -> list[int]:
    return [round(255 * part) for part in to_rgb(colour(class_id))]


def test_the_pixels_of_a_box_have_the_colour_of_its_class() -> None:
    pixels, _ = drawn(Truth(0, np.array([1]), np.array(BOX)))
    for x, y in [(20, 30), (60, 25), (50, 40)]:
        assert at(pixels, x, y) == ink(1)
    assert at(pixels, 40, 25) == at(pixels, 80, 50) == [255, 255, 255]


def test_boxes_stay_in_their_place_on_a_picture_that_was_reduced() -> None:
    pixels, _ = drawn(Truth(0, np.array([1]), np.array(BOX)), BLANK[::4, ::4])
    assert at(pixels, 20, 30) == ink(1)


def test_found_objects_have_their_score() -> None:
    scores = np.array([0.876])
    _, axes = drawn(Predictions(0, np.array([0]), np.array(BOX), scores=scores))
    assert [each.get_text() for each in axes.texts] == ["cat 0.88"]


def test_a_rotated_box_is_drawn_by_its_corners() -> None:
    turned = np.array([[48.0, 32.0, 40.0, 20.0, np.pi / 2]])
    _, axes = drawn(Truth(0, np.array([0]), boxes_xywhr=turned))
    (patch,) = axes.patches
    assert isinstance(patch, Polygon)
    corners = patch.get_xy()
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[38, 12], [58, 52]])


def test_masks_tint_the_picture() -> None:
    mask = np.zeros((64, 96), bool)
    mask[10:40, 20:40] = True
    rles = np.array([masks.encode(mask)], object)
    pixels, _ = drawn(Truth(0, np.array([1]), np.array(BOX), masks=rles))
    tint = 0.55 * 255 + 0.45 * np.array(ink(1))
    np.testing.assert_allclose(at(pixels, 30, 30), tint, atol=2)
    assert at(pixels, 50, 30) == [255, 255, 255]


def test_keypoints_that_are_not_there_are_not_drawn() -> None:
    points = np.array([[[30.0, 20.0, 2.0], [50.0, 30.0, 0.0]]])
    pixels, axes = drawn(Truth(0, np.array([1]), np.array(BOX), keypoints=points))
    assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[30, 20]]
    assert at(pixels, 30, 20) == ink(1)
    assert at(pixels, 50, 30) == [255, 255, 255]


def test_a_classified_picture_has_its_class_above() -> None:
    figure = beside([Shown(BLANK, SIZE, Truth(0, np.array([1])))], LABELS)
    assert [each.get_title() for each in figure.axes] == ["truth\ndog", "found\nnothing"]


class RedSeer:
    """A detector of one class: it finds the box around what is red."""

    view = ImageView(width=96, height=96)
    output = pa.field("detections", detection_type())

    def predict(self, views: Sequence[np.ndarray], rows: pa.Table) -> pa.Array:
        return to_arrow([self._found(view, n, rows) for n, view in enumerate(views)], ("dog",))

    def _found(self, view: np.ndarray, number: int, rows: pa.Table) -> Found:
        y, x = np.nonzero((view[..., 0] > 200) & (view[..., 1] < 60))
        box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]] * 2, np.float32)
        scores = np.array([0.9, 0.1], np.float32)  # the second one is not likely enough
        size = rows["width"][number].as_py(), rows["height"][number].as_py()
        return Found(box, scores, np.zeros(2, np.int32)).in_original(self.view, *size)


@pytest.fixture
def dataset(tmp_path: Path) -> Pictures:
    pictures = []
    for number in range(5):
        left = 8 * number
        pixels = np.full((64, 96, 3), 90, np.uint8)
        pixels[16:48, left : left + 40] = (250, 10, 10)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        box = np.array([[left, 16, left + 40, 48]], np.float32)
        pictures.append(Labelled(path, SIZE, box, np.array([1], np.int64)))
    return Pictures(LABELS, pictures, "detect")


def test_truth_lies_beside_what_a_model_finds(dataset: Pictures) -> None:
    pictures = found_on(RedSeer(), dataset, count=3)
    assert [Path(str(one.truth.picture)).name for one in pictures] == ["0.png", "2.png", "4.png"]
    for one in pictures:
        assert one.found is not None
        assert one.found.boxes_xyxy is not None
        assert one.truth.boxes_xyxy is not None
        np.testing.assert_allclose(one.found.boxes_xyxy, one.truth.boxes_xyxy, atol=1)
        assert one.found.class_ids.tolist() == one.truth.class_ids.tolist() == [1]
    figure = beside(pictures, LABELS)
    texts = [[each.get_text() for each in axes.texts] for axes in figure.axes]
    assert texts == [["dog"], ["dog 0.90"]] * 3


SETTINGS = TrainSettings(
    image_size=64, batch_size=4, augmentation=Augmentation(flip_vertical=0.5, hue=0)
)


def test_the_first_batches_are_those_of_the_training(dataset: Pictures) -> None:
    figures = list(first_batches(dataset, "detect", SETTINGS))
    assert [len(figure.axes) for figure in figures] == [4, 1], "five pictures are two batches"
    first = int(np.random.default_rng([SETTINGS.seed, 0]).permutation(5)[0])
    sample = Augmented(dataset, "detect", SETTINGS)[Key(0, first)]
    axes = figures[0].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), sample.image)
    corners = np.array([np.asarray(patch.get_path().vertices) for patch in axes.patches])
    found = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    np.testing.assert_allclose(found, sample.boxes_xyxy, atol=1e-3)


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_batches_of_every_task_show_their_truth(dataset: Pictures, task: Task) -> None:
    shapes: dict[str, dict[str, Any]] = {
        "segment": {"shapes": ([[8, 16, 48, 16, 48, 48, 8, 48]],)},
        "pose": {"keypoints": np.array([[[20, 30, 2], [40, 40, 0]]], np.float32)},
        "obb": {"quads": np.array([[[8, 16], [48, 16], [48, 48], [8, 48]]], np.float32)},
        "classify": {},
    }
    one = dataset.pictures[1]
    boxes = one.boxes_xyxy[: 0 if task == "classify" else 1]
    labelled = Labelled(one.path, one.size_wh, boxes, one.class_ids, **shapes[task])
    settings = SETTINGS.model_copy(
        update={"augmentation": Augmentation(mosaic=0, translate=0, scale=0)}
    )
    (figure,) = first_batches(Pictures(LABELS, [labelled], task), task, settings)
    axes = figure.axes[0]
    if task == "classify":
        assert axes.get_title() == "dog"
        return
    assert len(axes.patches) == 1
    assert len(axes.images) == (2 if task == "segment" else 1)
    points = [len(np.asarray(each.get_offsets())) for each in axes.collections]
    assert points == ([1] if task == "pose" else [])
    rendered(figure)


def test_files_are_written_whole(dataset: Pictures, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    folder.mkdir()
    paths = draw_data(dataset, SETTINGS, folder) + draw_samples(RedSeer(), dataset, folder)
    assert sorted(each.name for each in folder.iterdir()) == [
        *("batch_1.png", "batch_2.png", "labels.png", "samples.png"),
    ]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 300
    assert draw_evaluation({}, folder) == []
