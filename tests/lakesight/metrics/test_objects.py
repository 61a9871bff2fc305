"""What is no picture's truth or prediction is refused, and the picture named."""

from typing import Any

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.metrics import Predictions, Truth

BOX = [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_ids": [0.5]}, "integers"),
        ({"class_ids": [-1]}, "integers"),
        ({"class_ids": [[0]]}, r"shape \(N,\)"),
        ({"boxes_xyxy": [[1, 2, 3]]}, r"boxes_xyxy must have the shape \(1, 4\), but got \(1, 3\)"),
        ({"boxes_xyxy": BOX * 2}, r"\(1, 4\), but got \(2, 4\)"),
        ({"boxes_xyxy": [[1, 2, np.nan, 4]]}, "NaN"),
        ({"boxes_xyxy": [[3, 2, 1, 4]]}, "ends before it starts"),
        ({"boxes_xywhr": [[3, 2, -1, 4, 0]]}, "below 0"),
        ({"keypoints": [[[1, 2]]]}, r"keypoints must have the shape \(1, K, 3\)"),
        ({"areas": [1, 2]}, r"areas must have the shape \(1\,\)"),
        ({"masks": []}, "1 objects need as many masks, but got 0"),
        ({"crowd": [True, False]}, "crowd"),
    ],
)
def test_what_is_no_truth_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Truth(**{"picture": "a.jpg", "class_ids": [0], "boxes_xyxy": BOX, **fields})
    assert "'a.jpg'" in str(error.value)


@pytest.mark.parametrize("scores", [[np.nan], [np.inf], [], [0.1, 0.2]])
def test_scores_must_be_finite_and_one_each(scores: Any) -> None:
    with pytest.raises(UserError, match="scores"):
        Predictions("a.jpg", np.array([0]), np.array(BOX), scores=scores)


def test_lists_become_arrays_and_nothing_has_every_shape() -> None:
    nothing: Any = []
    truth = Truth("a.jpg", nothing, nothing, keypoints=nothing, boxes_xywhr=nothing)
    assert truth.boxes_xyxy is not None
    assert truth.boxes_xyxy.shape == (0, 4)
    assert truth.class_ids.dtype == np.int64
    assert len(Predictions.nothing("a.jpg")) == 0
