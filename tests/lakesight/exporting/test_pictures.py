"""Where the pictures come from that an export is judged by."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lakesight.errors import UserError
from lakesight.exporting.base import Source
from lakesight.exporting.formats import parse
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.pictures import given, scenes
from lakesight.exporting.yolo import calibrated_on, compared_on
from lakesight.models.yolo.architecture import Task
from lakesight.scenes import LABELS
from tests.outputs import write_output, write_pictures
from tests.yolo_folders import SIDE

Sources = Callable[[Task], Source]


def greys(folder: Path, count: int) -> Path:
    """Write pictures of one grey each, lighter by 10 from one to the next."""
    folder.mkdir()
    for level in range(count):
        Image.new("L", (SIDE, SIDE), level * 10).save(folder / f"{level:02}.png")
    return folder


def test_pictures_are_taken_at_even_distances(tiny_source: Sources, tmp_path: Path) -> None:
    source = tiny_source("detect")
    found = given(str(greys(tmp_path / "greys", 9)), source.view, source.contract, 5)
    assert found.labelled is None
    levels = [int(view.mean()) for view in found.views]
    assert levels == sorted(levels)
    assert len(levels) == 5
    assert (levels[0], levels[-1]) == (0, 80)
    assert all(view.shape == (SIDE, SIDE, 3) for view in found.views)


def test_an_output_gives_the_pictures_that_it_has_rows_of(
    tiny_source: Sources, new_root: Callable[[], str]
) -> None:
    """On a disk and in a bucket: two of three were seen."""
    source, lake, output = tiny_source("pose"), new_root(), new_root()
    write_pictures(lake, ["a.jpg", "b.jpg", "broken.jpg"])
    write_output(lake, output)
    write_pictures(lake, ["new.jpg"])
    found = given(output, source.view, source.contract, 5)
    assert (len(found.views), found.labelled) == (2, None)
    assert f"2 pictures of {output}" in found.what


def test_a_source_without_pictures_is_refused(tiny_source: Sources, tmp_path: Path) -> None:
    source = tiny_source("detect")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no picture in .* can be read"):
        given(str(tmp_path), source.view, source.contract, 5)
    with pytest.raises(UserError, match="there is no file or folder"):
        given(str(tmp_path / "nowhere"), source.view, source.contract, 5)


def test_scenes_are_labelled_where_the_classes_are_theirs(tiny_source: Sources) -> None:
    source = tiny_source("segment")
    plain = scenes(source, (3, 4), seed=1)
    assert (plain.labelled, len(plain.views)) == (None, 3)
    assert not np.array_equal(plain.views[0], plain.views[1])
    again = scenes(source, (3, 4), seed=1)
    assert all(map(np.array_equal, plain.views, again.views))


def test_labelled_scenes(tiny_source: Sources, tmp_path: Path) -> None:
    contract = tiny_source("segment").contract.model_copy(update={"num_classes": len(LABELS)})
    source = replace(tiny_source("segment"), labels=LABELS, contract=contract, scratch=tmp_path)
    found = scenes(source, (2, 4), seed=1)
    assert found.labelled is not None
    assert (len(found.views), len(found.labelled), found.labelled.labels) == (2, 4, LABELS)
    same = given(str(tmp_path / "scenes-1"), source.view, contract, 2)
    assert same.labelled is not None
    assert all(map(np.array_equal, found.views, same.views))
    assert "4 labelled pictures of" in same.what


def test_pictures_that_cannot_be_read_are_told(
    tiny_source: Sources, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny_source("detect")
    (greys(tmp_path / "greys", 3) / "99.png").write_bytes(b"nothing")
    found = given(str(tmp_path / "greys"), source.view, source.contract, 5)
    assert len(found.views) == 3
    assert "1 of 4 pictures of" in caplog.text


def test_coco_may_name_pictures_of_another_folder(tiny_source: Sources, tmp_path: Path) -> None:
    """As COCO's own layout has them: annotations/ beside the folders of pictures."""
    greys(tmp_path / "val2017", 3)
    images = [
        {"id": level, "file_name": f"{level:02}.png", "width": SIDE, "height": SIDE}
        for level in range(3)
    ]
    one = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [8, 8, 20, 20]}
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_val2017.json"
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS[:3], 1)]
    path.write_text(json.dumps({"images": images, "annotations": [one], "categories": categories}))
    source = replace(tiny_source("detect"), labels=LABELS[:3], scratch=tmp_path / "scratch")
    named = ExportOptions(
        pictures=str(path), images=str(tmp_path / "val2017"), num_views=2, num_calibration=3
    )
    samples = compared_on(source, named)
    assert samples.labelled is not None
    assert (len(samples.views), len(samples.labelled)) == (2, 3)
    int8 = [parse("openvino-int8")]
    assert len(calibrated_on(source, int8, named)) == 3
    (tmp_path / "train2017").mkdir()
    for level in range(3):
        Image.new("L", (SIDE, SIDE), 200).save(tmp_path / "train2017" / f"{level:02}.png")
    other = named.model_copy(update={"calibration_images": str(tmp_path / "train2017")})
    assert {int(view.mean()) for view in calibrated_on(source, int8, other)} == {200}


def test_ranges_come_from_other_pictures_than_the_verdict(
    tiny_source: Sources, tmp_path: Path
) -> None:
    source = tiny_source("classify")
    for split, level in (("train", 40), ("val", 90)):
        for label in source.labels:
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (SIDE, SIDE), (level,) * 3).save(folder / "one.png")
    told = (str(tmp_path), source.view, source.contract, 9)
    for found, level in ((given(*told), 90), (given(*told, split="train"), 40)):
        assert found.labelled is not None
        assert {int(view.mean()) for view in found.views} == {level}
        assert len(found.views) == 3
