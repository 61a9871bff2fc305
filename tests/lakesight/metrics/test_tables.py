"""From tables of detections to what an evaluator takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.masks import decode, encode
from lakesight.metrics import DetectionEvaluator, predictions_from_table, truths_from_table
from lakesight.schemas import detection_type

LABELS = ("dog", "cat")
URIS = ["s3://bucket/one/a.jpg", "s3://bucket/two/b.jpg", "s3://bucket/two/c.jpg"]


def found(label: str, score: float, box: tuple[float, ...] = (1, 2, 30, 40)) -> dict[str, Any]:
    return {"box": list(box), "score": score, "class_id": 0, "label": label}


def table(rows: Sequence[list[dict[str, Any]] | None]) -> pa.Table:
    """Return rows as Lakesight writes them; None stands for a picture that could not be decoded."""
    detections = pa.array(rows, detection_type())
    return pa.table({"uri": URIS[: len(rows)], "detections": detections})


ROWS = [[found("cat", 0.5), found("dog", 0.25)], None, []]


def test_predictions_take_their_class_from_the_label() -> None:
    first, second, third = predictions_from_table(table(ROWS), LABELS)
    assert [one.picture for one in (first, second, third)] == URIS
    assert first.class_ids.tolist() == [1, 0]
    assert first.scores.tolist() == [0.5, 0.25]
    assert first.boxes_xyxy is not None
    assert first.boxes_xyxy.tolist() == [[1, 2, 30, 40]] * 2
    assert len(second) == len(third) == 0


def test_a_slice_of_a_table_and_chunks_are_read() -> None:
    chunked = pa.concat_tables([table(ROWS).slice(1), table(ROWS).slice(0, 1)])
    sizes = {one.picture: len(one) for one in predictions_from_table(chunked, LABELS, key="name")}
    assert sizes == {"a.jpg": 2, "b.jpg": 0, "c.jpg": 0}


def test_a_table_without_objects_or_rows() -> None:
    assert [len(one) for one in predictions_from_table(table([[], None]), LABELS)] == [0, 0]
    assert predictions_from_table(table([]), LABELS) == []


def test_a_strange_label_is_refused_or_left_out() -> None:
    rows = [[found("cat", 0.5), found("zebra", 0.9), found("dog", 0.1)]]
    with pytest.raises(UserError, match=r"zebra.*not among the 2.*dog, cat"):
        predictions_from_table(table(rows), LABELS)
    (one,) = predictions_from_table(table(rows), LABELS, unknown="drop")
    assert one.scores.tolist() == [0.5, pytest.approx(0.1)]
    with pytest.raises(UserError, match="zebra"):
        truths_from_table(table(rows), LABELS)


def test_frames_of_a_video_have_names_of_their_own() -> None:
    rows = pa.table(
        {
            "uri": ["v.mp4", "v.mp4", "x.jpg"],
            "frame_index": [0, 25, None],
            "detections": pa.array([[], [], []], detection_type()),
        }
    )
    assert [one.picture for one in predictions_from_table(rows, LABELS)] == [
        "v.mp4#0",
        "v.mp4#25",
        "x.jpg",
    ]


def test_names_must_differ() -> None:
    twice = table([[], []]).set_column(0, "uri", [["s3://a/x.jpg", "s3://b/x.jpg"]])
    with pytest.raises(UserError, match="several alike"):
        predictions_from_table(twice, LABELS, key="name")
    assert len(predictions_from_table(twice, LABELS)) == 2


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(UserError, match="no column 'objects', but uri, detections"):
        predictions_from_table(table(ROWS), LABELS, column="objects")
    with pytest.raises(UserError, match="no column 'file_name'"):
        predictions_from_table(table(ROWS), LABELS, key="file_name")


def truth_table() -> pa.Table:
    """Return truth in the form of the generated scenes."""
    mask = encode(np.eye(4, dtype=bool)).as_coco()
    one = {
        "box": [0.0, 0, 4, 4],
        "label": "cat",
        "mask": mask,
        "keypoints": [[1.0, 1, 2], [2, 2, 0]],
        "obb": [2.0, 2, 4, 2, 0.5],
        "area": 4,
    }
    kind = pa.struct(
        [
            ("box", pa.list_(pa.float32(), 4)),
            ("label", pa.string()),
            ("mask", pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])),
            ("keypoints", pa.list_(pa.list_(pa.float32(), 3))),
            ("obb", pa.list_(pa.float32(), 5)),
            ("area", pa.int32()),
        ]
    )
    objects = pa.array([[one, {**one, "label": "dog", "area": 7}], []], pa.list_(kind))
    return pa.table({"file_name": ["a.png", "b.png"], "objects": objects, "tone": ["dark", None]})


def test_truth_has_every_shape() -> None:
    first, second = truths_from_table(
        truth_table(), LABELS, key="file_name", column="objects", slices=("tone",)
    )
    assert first.class_ids.tolist() == [1, 0]
    assert first.areas is not None
    assert first.areas.tolist() == [4, 7]
    assert first.keypoints is not None
    assert first.keypoints[0].tolist() == [[1, 1, 2], [2, 2, 0]]
    assert first.boxes_xywhr is not None
    assert first.boxes_xywhr[1].tolist() == [2, 2, 4, 2, 0.5]
    assert (first.slices, second.slices) == ({"tone": "dark"}, {})
    assert first.masks is not None
    assert decode(first.masks[0]).tolist() == np.eye(4, dtype=bool).tolist()


def test_truth_is_no_prediction() -> None:
    with pytest.raises(UserError, match="'score'"):
        predictions_from_table(truth_table(), LABELS, key="file_name", column="objects")


def test_a_model_that_finds_the_truth_is_perfect() -> None:
    rows = [[found("cat", 0.5), found("dog", 0.25)], [], [found("dog", 0.9)]]
    evaluator = DetectionEvaluator(LABELS)
    evaluator.update(
        truths_from_table(table(rows), LABELS), predictions_from_table(table(rows), LABELS)
    )
    assert evaluator.result().map == pytest.approx(1)
