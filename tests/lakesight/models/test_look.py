"""One call from a picture of any form to a model's value."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.models import catalog
from lakesight.models.base import Model
from lakesight.models.look import look, look_ahead
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
    path = tmp_path / "blue.png"
    found = look(model, [path, str(path), path.as_uri(), path.read_bytes(), image, pixels])
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


def test_an_object_of_a_bucket_is_fetched(model: Model, shared_bucket: str) -> None:
    image = Image.new("RGB", (80, 48), (0, 0, 255))
    data = io.BytesIO()
    image.save(data, "PNG")
    store, key = Store.open(f"s3://{shared_bucket}/look/blue.png")
    store.put(key, data.getvalue())
    assert look(model, [f"s3://{shared_bucket}/look/blue.png"]).equals(look(model, [image]))


def test_looking_ahead_gives_the_same(model: Model) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20 + n, 30, 3), np.uint8) for n in range(9)]
    parts = list(look_ahead(model, pictures, batch_size=2))
    assert [len(found) for found, _ in parts] == [2, 2, 2, 2, 1]
    joined = pa.concat_arrays([found for found, _ in parts])
    assert joined.to_pylist() == look(model, pictures).to_pylist()
    assert [size for _, sizes in parts for size in sizes] == [(30, 20 + n) for n in range(9)]
    assert list(look_ahead(model, [])) == []


def test_an_image_that_is_there_twice_is_loaded_by_one_thread(model: Model) -> None:
    data = io.BytesIO()
    Image.new("RGB", (2000, 1500), (0, 0, 255)).save(data, "PNG")
    alone = look(model, [data.getvalue()]).to_pylist()[0]
    lazy = Image.open(data)
    (several,) = look_ahead(model, [lazy] * 8, batch_size=8)
    assert several[0].to_pylist() == [alone] * 8


def test_an_image_that_breaks_when_it_is_loaded_is_said(model: Model) -> None:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        data, "PNG"
    )
    broken = bytearray(data.getvalue())
    broken[data.getvalue().index(b"IDAT") - 1] ^= 0x55  # the length of the chunk
    image = Image.open(io.BytesIO(bytes(broken)))
    with pytest.raises(UserError, match="cannot read the picture of type PngImageFile: undecod"):
        look(model, [image])


def test_a_column_of_another_length_is_said(model: Model) -> None:
    good = np.zeros((40, 40, 3), np.uint8)
    column = pa.array([1])
    for looked in (
        lambda: look(model, [good, good], detections=column),
        lambda: list(look_ahead(model, [good, good], detections=column)),
    ):
        with pytest.raises(UserError, match="detections has 1 values, but there are 2 pictures"):
            looked()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Path("nowhere.jpg"), r"cannot read the picture nowhere\.jpg: .*No such file"),
        (b"GIF89a", r"cannot read the picture of type bytes: "),
        (np.zeros((4, 4), np.uint8), r"must be \(height, width, 3\) uint8 .* got \(4, 4\) uint8"),
        (np.zeros((4, 4, 3)), r"got \(4, 4, 3\) float64"),
        (None, "must be a path or uri, bytes, a Pillow image or an array, but got NoneType"),
    ],
)
def test_what_is_no_picture_is_said(model: Model, picture: Any, message: str) -> None:
    good = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(UserError, match=message):
        look(model, [good, picture])
    with pytest.raises(UserError, match=message):
        list(look_ahead(model, [good, picture], batch_size=1))
