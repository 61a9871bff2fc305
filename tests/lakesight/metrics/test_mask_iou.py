"""Overlap of run lengths, against the C++ of faster-coco-eval."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference

from lakesight.errors import UserError
from lakesight.masks import Rle, encode
from lakesight.metrics.mask_iou import mask_iou


def masks(seed: int, count: int, shape: tuple[int, int] = (41, 29)) -> list[Rle]:
    """Return noise of every density, the empty and the full mask among it."""
    rng = np.random.default_rng(seed)
    shares = np.concatenate(([0, 1], rng.random(count - 2)))
    return [encode(rng.random(shape) < share) for share in shares]


@pytest.mark.parametrize("crowded", [False, True])
def test_overlap_is_that_of_the_reference(crowded: bool) -> None:
    found, truth = masks(0, 30), masks(1, 20)
    crowd = np.arange(20) % 3 == 0 if crowded else np.zeros(20, bool)
    expected = reference.iou(
        [rle.as_coco() for rle in found],
        [rle.as_coco() for rle in truth],
        crowd.astype(int).tolist(),
    )
    np.testing.assert_allclose(mask_iou(found, truth, crowd), expected, rtol=1e-12)


def test_nothing_overlaps_nothing() -> None:
    assert mask_iou([], masks(0, 3)).shape == (0, 3)
    assert mask_iou(masks(0, 3), []).shape == (3, 0)


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="one size"):
        mask_iou(masks(0, 2), masks(0, 2, (29, 41)))


def test_run_lengths_of_another_size_are_refused() -> None:
    wrong = Rle((41, 30), masks(0, 2)[1].counts)
    with pytest.raises(UserError, match="41 x 30"):
        mask_iou([wrong], [wrong])
