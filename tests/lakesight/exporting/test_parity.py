"""Differences of tensors and of objects, against numbers told by hand."""

import numpy as np
import pytest

from lakesight.exporting.parity import check, of_objects, of_seen, of_tensors
from lakesight.models.yolo.architecture import Task, named
from lakesight.models.yolo.decode import Candidates
from lakesight.models.yolo.folder import Contract
from lakesight.runtimes.base import Tensors


def contract(task: Task) -> Contract:
    return Contract(**named(task, "n", 2).model_dump())


def dense(num_values: int = 6) -> Tensors:
    """One view of three anchors that score 0.9, 0.2 and 0.1."""
    values = np.zeros((1, num_values, 3), np.float32)
    values[0, :4] = 100
    values[0, 4] = (0.9, 0.1, 0.1)
    values[0, 5] = (0.1, 0.2, 0.1)
    return {"output_0": values}


def changed(tensors: Tensors, *places: tuple[int, int, float]) -> Tensors:
    values = tensors["output_0"].copy()
    for row, anchor, more in places:
        values[0, row, anchor] += more
    return {**tensors, "output_0": values}


def test_what_sees_something_is_told_apart() -> None:
    wanted = dense()
    found = changed(wanted, (0, 0, 0.5), (3, 1, -20), (5, 0, 0.01), (4, 2, 0.1))
    num_seen, seen = of_seen(contract("detect"), wanted, found)
    assert num_seen == 1
    assert seen.box_px is not None
    assert seen.box_px.absolute == 0.5
    assert seen.box_px.relative == 0.005
    assert seen.score.absolute == pytest.approx(0.01)
    assert (seen.extra, seen.prototypes) == (None, None)
    every = of_tensors(contract("detect"), wanted, found)
    assert every.box_px is not None
    assert every.box_px.absolute == 20
    assert every.score.absolute == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((0, 2, 0.2), "a box differs by 0.2 px"),
        ((4, 2, 0.01), "a score differs by 0.01 "),
        ((6, 2, 0.5), "the rest differs by 0.5 of its range"),
        ((4, 2, float("nan")), "a score differs by nan"),
        ((0, 2, 0.05), None),
    ],
)
def test_what_is_too_much_for_f32_is_named(
    place: tuple[int, int, float], words: str | None
) -> None:
    wanted = dense(7)
    wanted["output_0"][0, 6] = (1, -0.5, 0)
    told = of_tensors(contract("obb"), wanted, changed(wanted, place)).beyond()
    assert (told is None) == (words is None)
    assert words is None or words in str(told)


def test_prototypes_count_by_their_range() -> None:
    wanted = {**dense(38), "output_1": np.full((1, 32, 2, 2), 4, np.float32)}
    found = {**wanted, "output_1": wanted["output_1"] + 1}
    assert of_tensors(contract("segment"), wanted, found).other == 0.25


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((6, 0, 0.2), "a keypoint differs by 0.2 px"),
        ((8, 0, 0.5), "a keypoint's score differs by 0.5 "),
        ((8, 1, 2e-3), "a keypoint's score differs by 0.002 "),
        ((11, 1, 5e-4), None),
        ((9, 2, 0.05), None),
    ],
)
def test_scores_of_keypoints_are_no_pixels(
    place: tuple[int, int, float], words: str | None
) -> None:
    """Two points of x, y in 0..640 and a score in 0..1."""
    wanted = dense(12)
    wanted["output_0"][0, [6, 7, 9, 10]] = 640
    wanted["output_0"][0, [8, 11]] = 0.5
    kind = contract("pose").model_copy(update={"num_keypoints": 2})
    found = of_tensors(kind, wanted, changed(wanted, place))
    assert found.extra is None
    told = found.beyond()
    assert (told is None) == (words is None)
    assert words is None or words in str(told)
    rows = [
        Candidates(each[0, :4].T, each[0, 4], np.zeros(3, np.int32), each[0, 6:].T)
        for each in (wanted["output_0"], changed(wanted, place)["output_0"])
    ]
    assert (of_objects(kind, rows[:1], rows[1:]).beyond() is None) == (words is None)


def test_a_classifier_has_scores_only() -> None:
    wanted = {"output_0": np.array([[0.7, 0.3], [0.5, 0.5]], np.float32)}
    found = {"output_0": np.array([[0.7, 0.3], [0.25, 0.75]], np.float32)}
    num_seen, differences = of_seen(contract("classify"), wanted, found)
    assert (num_seen, differences.box_px, differences.score.absolute) == (2, None, 0.25)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected tensors of .*\(1, 6, 3\).*got .*\(1, 7, 3\)"):
        check(dense(6), dense(7))
    check(dense(), changed(dense(), (0, 0, 9)))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        check(dense(), changed(dense(), (4, 1, float("inf"))))


def candidates(order: list[int], class_ids: tuple[int, ...] = (0, 1, 1)) -> Candidates:
    """Three objects, the last two of one score, in an order."""
    every = Candidates(
        np.array([[9, 9, 2, 2], [1, 1, 2, 2], [5, 5, 2, 2]], np.float32),
        np.array([0.9, 0.5, 0.5], np.float32),
        np.array(class_ids, np.int32),
        np.zeros((3, 0), np.float32),
    )
    return every.take(np.array(order))


def test_objects_of_one_score_may_change_places() -> None:
    found = of_objects(contract("detect"), [candidates([0, 1, 2])], [candidates([0, 2, 1])])
    assert found.box_px is not None
    assert found.box_px.absolute == 0


def test_other_objects_are_no_parity() -> None:
    with pytest.raises(ValueError, match="picture 0 has 3 objects by the weights, and 2"):
        of_objects(contract("detect"), [candidates([0, 1, 2])], [candidates([0, 1])])
    with pytest.raises(ValueError, match="picture 0 has 3"):
        of_objects(contract("detect"), [candidates([0, 1, 2])], [candidates([0, 1, 2], (1, 1, 1))])
