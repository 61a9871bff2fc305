"""How rows are put together before a language model sees them."""

import numpy as np

from lakesight.models.writers import MAX_PADDING, similar


def test_rows_of_similar_lengths_go_together() -> None:
    assert similar([], 8) == []
    assert similar([7], 8) == [[0]]
    assert similar([40, 6, 7, 41, 6], 8) == [[1, 4, 2], [0, 3]]
    assert similar([40, 6, 7, 41, 6], 2) == [[1, 4], [2], [0, 3]]


def test_no_row_is_lost_and_padding_is_bounded() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 300).tolist()
    groups = similar(lengths, 300)
    assert sorted(row for group in groups for row in group) == list(range(300))
    for group in groups:
        real = sum(lengths[row] for row in group)
        assert real >= (1 - MAX_PADDING) * len(group) * max(lengths[row] for row in group)
    # and not for the price of a pass a row
    assert len(groups) < 15
