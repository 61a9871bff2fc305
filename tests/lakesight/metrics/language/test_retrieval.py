"""Recall among the first, both ways, against sorting and counting."""

import json
import pickle

import numpy as np
import numpy.typing as npt
import pytest

from lakesight.errors import UserError
from lakesight.metrics import Bootstrap, RetrievalEvaluator
from lakesight.metrics.language.ranks import both_ranks

NUM_PICTURES, NUM_TEXTS = 30, 100


def data(seed: int = 0) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Return similarities with many ties, and owners; two pictures have no text."""
    rng = np.random.default_rng(seed)
    owners = rng.integers(0, NUM_PICTURES - 1, NUM_TEXTS)
    table = rng.integers(0, 12, (NUM_PICTURES, NUM_TEXTS)).astype(np.float32)
    table[owners, np.arange(NUM_TEXTS)] += 6
    return table, owners.tolist()


def evaluate() -> RetrievalEvaluator:
    table, owners = data()
    evaluator = RetrievalEvaluator()
    texts = [f"t{number}" for number in range(NUM_TEXTS)]
    kinds = [{"half": str(picture % 2)} for picture in range(NUM_PICTURES)]
    evaluator.update(list(range(NUM_PICTURES)), texts, table, owners, kinds)
    return evaluator


def place(scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> int:
    """Sort with wrong ones first among equals, and look for the first right one."""
    order = sorted(range(len(scores)), key=lambda one: (-scores[one], right[one]))
    return 1 + next(number for number, one in enumerate(order) if right[one])


def expected() -> dict[str, list[int]]:
    table, owners = data()
    own = np.array(owners)
    return {
        "text_to_image": [
            place(table[:, text], np.arange(NUM_PICTURES) == owners[text])
            for text in range(NUM_TEXTS)
        ],
        "image_to_text": [place(table[one], own == one) for one in sorted(set(owners))],
    }


def test_figures_are_those_of_sorting() -> None:
    result = evaluate().result()
    for way, places in expected().items():
        for most in (1, 5, 10):
            recall = np.mean([one <= most for one in places])
            assert result.values[f"{way}_r{most}"] == pytest.approx(recall)
        assert result.values[f"{way}_median_rank"] == np.median(places)
    assert result.counts == {"text_to_image_queries": 100, "image_to_text_queries": 28}
    assert 0 < result.values["text_to_image_r1"] < result.values["text_to_image_r5"] < 1


@pytest.mark.parametrize("max_cells", [1, 250, 1 << 24])
def test_a_part_at_a_time_changes_nothing(max_cells: int) -> None:
    table, owners = data()
    asked: list[slice] = []

    def columns(texts: slice) -> npt.NDArray[np.float32]:
        asked.append(texts)
        return table[:, texts]

    of_texts, of_pictures = both_ranks(columns, np.array(owners), NUM_PICTURES, max_cells)
    np.testing.assert_array_equal(of_texts, expected()["text_to_image"])
    np.testing.assert_array_equal(of_pictures[sorted(set(owners))], expected()["image_to_text"])
    assert set(np.flatnonzero(np.isinf(of_pictures))) == set(range(NUM_PICTURES)) - set(owners)
    widest = max(one.stop - one.start for one in asked)
    assert widest == max(1, max_cells // NUM_PICTURES)


def test_a_function_gives_what_the_table_gives() -> None:
    table, owners = data()
    evaluator = RetrievalEvaluator()
    texts = [f"t{number}" for number in range(NUM_TEXTS)]
    evaluator.update(list(range(NUM_PICTURES)), texts, lambda some: table[:, some], owners)
    assert evaluator.result().to_dict() == evaluate().result().to_dict()
    with pytest.raises(UserError, match="similarities must have the shape"):
        RetrievalEvaluator().update([0], ["a"], lambda some: table[:, some], [0])


def test_what_is_minus_infinity_is_never_found() -> None:
    evaluator = RetrievalEvaluator()
    evaluator.update([0, 1], ["a", "b"], [[-np.inf, -np.inf], [0.5, 0.6]], [0, 1])
    figures = evaluator.result().figures()
    assert figures["text_to_image_r10"] == figures["image_to_text_r10"] == 0.5
    assert figures["text_to_image_r1"] == figures["image_to_text_r1"] == 0.5


def test_a_model_to_which_all_is_alike_finds_nothing() -> None:
    evaluator = RetrievalEvaluator()
    evaluator.update([0, 1], ["a", "b", "c"], np.zeros((2, 3)), [0, 0, 1])
    figures = evaluator.result().figures()
    assert figures["text_to_image_r1"] == figures["image_to_text_r1"] == 0
    assert figures["text_to_image_median_rank"] == 2
    assert figures["image_to_text_median_rank"] == 2.5  # two wrong before one, one before two


def test_lists_give_what_the_matrix_gives() -> None:
    table, owners = data()
    table += np.random.default_rng(1).random(table.shape).astype(np.float32) * 0.5  # no ties
    pictures, texts = list(range(NUM_PICTURES)), [f"t{one}" for one in range(NUM_TEXTS)]
    matrix, lists = RetrievalEvaluator(), RetrievalEvaluator()
    matrix.update(pictures, texts, table, owners)
    found = [np.argsort(-table[:, one])[:10].tolist() for one in range(NUM_TEXTS)]
    lists.update_ranked(
        "text_to_image", texts, found, [{owner} for owner in owners], pictures=owners
    )
    asked = sorted(set(owners))
    lists.update_ranked(
        "image_to_text",
        asked,
        [[texts[one] for one in np.argsort(-table[row])[:10]] for row in asked],
        [{text for text, owner in zip(texts, owners, strict=True) if owner == row}
         for row in asked],
    )  # fmt: skip
    bootstrap = Bootstrap(resamples=30)
    assert lists.result(bootstrap).to_dict() == matrix.result(bootstrap).to_dict()


def test_what_a_list_does_not_name_is_not_found() -> None:
    evaluator = RetrievalEvaluator()
    right = [{"p"}, {"q"}, {"r", "p"}]
    evaluator.update_ranked("text_to_image", ["a", "b", "c"], [["p"], ["p"], []], right)
    result = evaluator.result()
    assert result.values["text_to_image_r10"] == pytest.approx(1 / 3)
    assert result.values["text_to_image_median_rank"] == np.inf
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))


def test_shares_add_up() -> None:
    _, owners = data()
    whole = RetrievalEvaluator()
    parts = [RetrievalEvaluator(), RetrievalEvaluator()]
    places = expected()["text_to_image"]
    for number, (rank, owner) in enumerate(zip(places, owners, strict=True)):
        for one in (whole, parts[number % 2]):
            one.add("text_to_image", [number], [rank], [owner])
    parts[1].merge(pickle.loads(pickle.dumps(parts[0])))
    bootstrap = Bootstrap(resamples=40)
    assert parts[1].result(bootstrap).to_dict() == whole.result(bootstrap).to_dict()
    with pytest.raises(UserError, match="came again"):
        parts[1].merge(parts[0])
    assert len(parts[1]) == NUM_TEXTS


def test_draws_are_of_pictures_with_their_texts() -> None:
    evaluator = RetrievalEvaluator()
    evaluator.add("text_to_image", list(range(20)), [1, 9] * 10, [one // 10 for one in range(20)])
    result = evaluator.result(Bootstrap(resamples=50))
    assert result.intervals["text_to_image_r1"].to_list() == [0.5, 0.5]
    assert "text_to_image_median_rank" not in result.intervals


def test_slices_are_of_pictures_and_hold_for_their_texts() -> None:
    _, owners = data()
    even = evaluate().slices("half")["0"]
    places = expected()["text_to_image"]
    own = [place for place, owner in zip(places, owners, strict=True) if owner % 2 == 0]
    assert even.counts["text_to_image_queries"] == len(own)
    assert even.values["text_to_image_r5"] == pytest.approx(np.mean([one <= 5 for one in own]))


def test_figures_are_text() -> None:
    lines = evaluate().result(Bootstrap(resamples=20)).table().splitlines()
    assert lines[0] == "100 text_to_image_queries, 28 image_to_text_queries"
    assert len(lines) == 10


def test_mistakes_are_refused_and_change_nothing() -> None:
    evaluator = RetrievalEvaluator()
    with pytest.raises(UserError, match=r"shape \(2, 3\) \(pictures, texts\), but got \(3, 2\)"):
        evaluator.update([0, 1], [0, 1, 2], np.zeros((3, 2)), [0, 0, 1])
    with pytest.raises(UserError, match="one is NaN"):
        evaluator.update([0], [0], [[np.nan]], [0])
    with pytest.raises(UserError, match="every text belongs to one of the pictures, but 7 is not"):
        evaluator.update([0], [0], [[1.0]], [7])
    with pytest.raises(UserError, match="1 keys need as many candidates, but got 2"):
        evaluator.update_ranked("text_to_image", [0], [[1], [2]], [{1}])
    with pytest.raises(UserError, match="the way is one of text_to_image, image_to_text"):
        evaluator.add("up", [0], [1])  # type: ignore[arg-type]
    evaluator.add("image_to_text", [1], [1])
    with pytest.raises(UserError, match="came again"):
        evaluator.update([0, 1], ["a"], [[1.0], [0.0]], [1])
    assert len(evaluator) == 1
