import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from lakesight import draw, masks


def found(
    label: str = "cat", box: tuple[float, ...] = (10, 20, 110, 220), **more: Any
) -> dict[str, Any]:
    return {"box": box, "score": 0.876, "class_id": 3, "label": label} | more


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def test_a_box_is_drawn_in_the_pixels_of_the_picture() -> None:
    svg = parse(draw.overlay(640, 480, [found()]))
    assert svg.get("viewBox") == "0 0 640 480"
    box = svg.find("./g/rect[@class='box']")
    assert box is not None
    assert [float(box.get(name, "")) for name in ("x", "y", "width", "height")] == [
        10,
        20,
        100,
        200,
    ]
    assert svg.findtext("./g/text") == "cat 0.88"


def test_nothing_found_is_an_empty_layer() -> None:
    assert list(parse(draw.overlay(640, 480, []))) == []


def test_a_hostile_label_stays_text() -> None:
    label = '</text><script>alert("1")</script>&'
    svg = draw.overlay(640, 480, [found(label)])
    assert "<script" not in svg
    assert parse(svg).findtext("./g/text") == f"{label} 0.88"


def test_a_missing_label_falls_back_to_the_class_id() -> None:
    detection = found() | {"label": None}
    assert parse(draw.overlay(640, 480, [detection])).findtext("./g/text") == "3 0.88"


def test_small_boxes_lie_on_top_of_large_ones() -> None:
    small, large = found("small", (0, 0, 10, 10)), found("large", (0, 0, 600, 400))
    texts = [text.text for text in parse(draw.overlay(640, 480, [small, large])).iter("text")]
    assert texts == ["large 0.88", "small 0.88"]


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (630, 470, 640, 480), (-50, -50, 20, 20)])
def test_the_label_stays_within_the_picture(box: tuple[float, ...]) -> None:
    plate = parse(draw.overlay(640, 480, [found("person", box)])).find("./g/rect[@class='plate']")
    assert plate is not None
    x, width = float(plate.get("x", "")), float(plate.get("width", ""))
    assert x >= 0
    assert x + width <= 640.1


def test_only_keypoints_that_were_seen_are_drawn() -> None:
    points = [[float(i), 2.0 * i, 0.9 if i in (5, 7, 9) else 0.1] for i in range(17)]
    svg = parse(draw.overlay(640, 480, [found(keypoints=points)]))
    joints = [(float(j.get("cx", "")), float(j.get("cy", ""))) for j in svg.iter("circle")]
    assert joints == [(5, 10), (7, 14), (9, 18)]
    bones = [(float(b.get("x1", "")), float(b.get("x2", ""))) for b in svg.iter("line")]
    assert bones == [(5, 7), (7, 9)]


def test_keypoints_of_another_set_have_no_coco_bones() -> None:
    points = [[1.0, 1.0, 0.9]] * 21
    svg = parse(draw.overlay(640, 480, [found(keypoints=points)]))
    assert len(list(svg.iter("circle"))) == 21
    assert not list(svg.iter("line"))


def test_a_label_has_one_colour() -> None:
    colours = re.findall(
        r"--hue:([\d.]+)", draw.overlay(9, 9, [found("a"), found("b"), found("a")])
    )
    assert len(colours) == 3
    assert len(set(colours)) == 2
    assert all(0 <= float(colour) < 360 for colour in colours)


def test_a_rotated_box_is_drawn_in_place_of_the_upright_one() -> None:
    svg = parse(draw.overlay(640, 480, [found(obb=[60, 120, 100, 40, 0.0])]))
    assert svg.find("./g/rect[@class='box']") is None
    (polygon,) = svg.iter("polygon")
    assert polygon.get("points") == "10.0,100.0 110.0,100.0 110.0,140.0 10.0,140.0"


def test_a_mask_is_its_outline_with_its_holes() -> None:
    mask = np.zeros((480, 640), bool)
    mask[100:200, 50:150] = True
    mask[140:160, 80:120] = False
    svg = parse(draw.overlay(640, 480, [found(mask=masks.encode(mask).as_coco())]))
    (path,) = svg.iter("path")
    rings = [ring for ring in path.get("d", "").split("Z") if ring]
    assert len(rings) == 2
    assert set(re.findall(r"[\d.]+,[\d.]+", rings[0])) == {
        "50.5,100.5", "50.5,199.5", "149.5,199.5", "149.5,100.5",
    }  # fmt: skip
    assert path.get("fill-rule") == "evenodd"
