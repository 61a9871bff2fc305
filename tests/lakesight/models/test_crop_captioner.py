"""Captions of objects: those of the captioner on the same pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError

import lakesight
from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models import crop_captioner
from lakesight.models.base import Image
from lakesight.models.crop_captioner import CropCaptionerOptions, cut
from lakesight.schemas import CROP_CAPTIONS, detection_type

Checkpoint = Callable[[str], Path]
LICENCES = ["unknown", "opt-175b-licence"]
WRITING: dict[str, Any] = {"device": "cpu", "max_new_tokens": 6, "num_beams": 1}


def load(folder: Path, kind: Any = "caption_crops", **options: Any) -> Any:
    given = {**WRITING, **options}
    return lakesight.load(str(folder), kind=kind, allow_licence=LICENCES, **given)


def objects(*boxes: tuple[float, ...], score: float = 0.9) -> list[dict[str, Any]]:
    return [{"box": [*box], "score": score, "class_id": 1, "label": "cat"} for box in boxes]


def column(*rows: list[dict[str, Any]] | None) -> pa.Array:
    return pa.array(rows, detection_type())


@pytest.fixture(scope="module")
def photo() -> Image:
    """A picture of 1024 x 512 pixels: its view has them as they are."""
    small = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(small).resize((1024, 512), Pillow.Resampling.BICUBIC))


@pytest.mark.parametrize("name", ["blip", "blip2-opt", "blip2-t5"])
def test_an_object_is_described_as_a_picture_of_it_would_be(
    name: str, checkpoint: Checkpoint, photo: Image
) -> None:
    folder = checkpoint(name)
    found = load(folder, prompt="a red").predict(
        [photo, photo],
        detections=column(
            objects((0, 0, 1024, 512), (100, 50, 300, 400)), objects((640, 0, 1024, 100))
        ),
    )
    assert found.column.type == CROP_CAPTIONS
    whole = load(folder, "caption", prompt="a red")
    crops = [photo, photo[50:400, 100:300], photo[:100, 640:]]
    first, second, third = whole.predict(crops).column.to_pylist()
    assert found.column.to_pylist() == [[first, second], [third]]


def test_what_is_not_described(checkpoint: Checkpoint, photo: Image) -> None:
    model = load(checkpoint("blip2-opt"), min_score=0.5)
    found = model.predict(
        [photo] * 4,
        detections=column(
            objects((0, 0, 9, 9)) + objects((0, 0, 9, 9), score=0.4),
            [],
            None,
            objects((5, 5, 5, 90), (2000, 0, 2100, 50)),
        ),
    ).column
    kinds = [None if one is None else [type(text) for text in one] for one in found.to_pylist()]
    assert kinds == [[str, type(None)], [], None, [type(None)] * 2]
    assert model.predict([]).column.type == CROP_CAPTIONS


def test_a_description_does_not_depend_on_how_many_there_are(
    checkpoint: Checkpoint, photo: Image
) -> None:
    model = load(checkpoint("blip2-opt"))
    boxes = [(20.0 * n, 10.0 * n, 20.0 * n + 90, 10.0 * n + 50) for n in range(40)]
    assert len(boxes) > crop_captioner.CROPS_A_PASS
    (many,) = model.predict([photo], detections=column(objects(*boxes))).column.to_pylist()
    assert len(many) == 40
    (last,) = model.predict([photo], detections=column(objects(boxes[-1]))).column.to_pylist()
    assert many[-1:] == last


def test_a_box_is_cut_from_the_view_and_nothing_around_the_picture() -> None:
    view = ImageView(width=100, height=100, pad=0)
    image = np.zeros((100, 100, 3), np.uint8)
    image[25:75] = np.arange(50)[:, None, None] + 1  # a picture of 400 x 200, at a quarter
    assert cut(image, view, (400, 200), (0, 0, 400, 200)).shape == (50, 100, 3)
    assert cut(image, view, (400, 200), (-9, -9, 999, 999)).min() == 1
    assert cut(image, view, (400, 200), (4, 4, 8, 12))[:, 0, 0].tolist() == [2, 3]
    assert cut(image, view, (400, 200), (5, 5, 7, 7)).shape == (1, 1, 3)
    assert cut(image, view, (400, 200), (5, 5, 5, 9)).size == 0


def test_mistakes_are_said(checkpoint: Checkpoint, photo: Image) -> None:
    with pytest.raises(UserError, match="no column 'signs': give --detect too"):
        load(checkpoint("blip2-opt"), detections="signs").predict([photo])
    with pytest.raises(ValidationError, match="an object gets one caption"):
        CropCaptionerOptions(num_captions=2)
