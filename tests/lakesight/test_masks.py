"""Run lengths against the C++ of faster-coco-eval, which writes what pycocotools writes."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as reference

from lakesight.errors import UserError
from lakesight.masks import Mask, Rle, area, compress, decode, decompress, encode


def masks() -> list[Mask]:
    rng = np.random.default_rng(0)
    noisy = [rng.random((37, 53)) < share for share in (0.02, 0.5, 0.98)]
    blob = np.zeros((300, 200), dtype=bool)
    blob[40:260, 30:170] = True
    blob[100:120, 60:90] = False
    corner = np.zeros((5, 4), dtype=bool)
    corner[0, 0] = True
    empty, full = np.zeros((6, 3), dtype=bool), np.ones((6, 3), dtype=bool)
    return [*noisy, blob, corner, empty, full, np.ones((2000, 1500), dtype=bool)]


@pytest.mark.parametrize("mask", masks())
def test_a_mask_is_encoded_as_the_reference_encodes_it(mask: Mask) -> None:
    expected = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle = encode(mask)
    assert rle.counts == bytes(expected["counts"]).decode()
    assert rle.as_coco()["size"] == list(mask.shape) == list(expected["size"])


@pytest.mark.parametrize("mask", masks())
def test_a_mask_comes_back(mask: Mask) -> None:
    rle = encode(mask)
    assert np.array_equal(decode(rle), mask)
    assert area(rle) == mask.sum()
    assert np.array_equal(reference.decode({**rle.as_coco(), "counts": rle.counts.encode()}), mask)


def test_counts_of_every_size_come_back() -> None:
    counts = np.array([0, 1, 15, 16, 31, 32, 1023, 1024, 10**6, 3, 0, 10**9, 2])
    assert decompress(compress(counts)).tolist() == counts.tolist()


@pytest.mark.parametrize(
    ("size", "counts", "message"),
    [
        ((2, 2), "", "as COCO writes them"),
        ((2, 2), "0\x7f", "as COCO writes them"),
        ((2, 2), "P", "as COCO writes them"),  # a run that goes on, and nothing after it
        ((2, 2), "5", "fill 2 x 2 pixels, got 5"),
        ((2, 2), "O5", "fill 2 x 2"),  # a run of -1
    ],
)
def test_what_is_no_mask_is_refused(size: tuple[int, int], counts: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode(Rle(size, counts))
