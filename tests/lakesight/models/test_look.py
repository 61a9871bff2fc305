"""One call from a picture of any form to a model's value."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lakesight.models import catalog
from lakesight.models.base import Model
from lakesight.models.look import look
from lakesight.models.yolo_import import Answers, import_yolo

from .onnx_files import COLOURS, write_yolo

TURNED = 6
"""EXIF orientation: show it turned by 90 degrees clockwise."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("look")
    path = write_yolo(folder / "colours.onnx", "v8")
    import_yolo(path, folder / "model", Answers(licence="MIT", labels=COLOURS))
    # Above the grey of a letterbox border, which has every colour a little.
    return catalog.build(catalog.spec(str(folder / "model"), options={"score_threshold": 0.6}))


def test_a_file_an_image_and_an_array_are_the_same(model: Model, tmp_path: Path) -> None:
    pixels = np.zeros((48, 80, 3), np.uint8)
    pixels[:, :40, 2] = 255
    image = Image.fromarray(pixels)
    image.save(tmp_path / "blue.png")
    found = look(model, [tmp_path / "blue.png", str(tmp_path / "blue.png"), image, pixels])
    first, *others = found.to_pylist()
    assert first
    assert {one["label"] for one in first} == {"blue"}
    assert all(other == first for other in others)


def test_exif_turns_an_image_as_it_turns_a_file(model: Model, tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        found = look(model, [tmp_path / "turned.png", image, np.rot90(pixels, -1)]).to_pylist()
    assert found[0]
    assert found[0] == found[1] == found[2]
    assert max(one["box"][3] for one in found[0]) > 40 - 2
