"""What the benchmark of serving compares and reads: no figure of it is tested."""

import pytest

from benchmarks.agreement import alike, iou
from benchmarks.serve import _ms
from benchmarks.servers import ways

BOX = [10.0, 10.0, 30.0, 50.0]


def found(label: str = "star", score: float = 0.9, box: list[float] = BOX) -> dict[str, object]:
    return {"label": label, "score": score, "box": box}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([found()], True),
        ([found(score=0.85)], True),
        ([found(box=[11.0, 10.0, 30.0, 50.0])], True),
        ([found(score=0.7)], False),
        ([found(label="ring")], False),
        ([found(box=[20.0, 10.0, 40.0, 50.0])], False),
        ([], False),
        ([found(), found(box=[60.0, 10.0, 80.0, 50.0])], False),
        ([found(), found(score=0.4, box=[60.0, 10.0, 80.0, 50.0])], True),
        ([found(), found()], False),
    ],
)
def test_objects_are_alike_by_label_score_and_box(other: list[object], same: bool) -> None:
    assert alike("detect", [found()], other, 0.1) == same
    assert alike("detect", other, [found()], 0.1) == same


def test_vectors_are_alike_by_their_cosines() -> None:
    assert alike("embed", [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.8]], 1e-3)
    assert not alike("embed", [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.8, 0.6]], 1e-3)


def test_iou() -> None:
    assert iou(BOX, BOX) == 1
    assert iou([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert iou([0, 0, 1, 1], [2, 2, 3, 3]) == 0


@pytest.mark.parametrize(("text", "ms"), [("250us", 0.25), ("3.5ms", 3.5), ("1.2s", 1200)])
def test_times_of_wrk_are_read(text: str, ms: float) -> None:
    assert _ms(text) == pytest.approx(ms)


def test_the_peer_is_tried_in_several_ways() -> None:
    assert len(set(ways())) == len(ways()) >= 4
