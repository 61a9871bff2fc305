"""A search whose best are looked at again: held against loops that rank one query at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import evaluate, open_labels
from lakesight.evaluation.matching import candidates, reranked
from lakesight.metrics.language.ranks import both_ranks
from tests.lakesight.models import tiny
from tests.worded import data, only

NUM_PICTURES, NUM_TEXTS = 7, 12
OWNERS = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 2])


def slow_rank(cosines: Any, sums: Any, right: Any, most: int) -> float:
    """The place of the first right one of a query: its best by their sums, the others behind."""
    order = np.argsort(-cosines, kind="stable")
    best = sorted(order[:most], key=lambda one: (-sums[one], right[one]))
    return 1 + next(place for place, one in enumerate([*best, *order[most:]]) if right[one])


@pytest.mark.parametrize("most", [1, 3, 7, 100])
@pytest.mark.parametrize("max_cells", [1, 30, 1 << 20])
def test_ranks_are_those_of_a_loop(most: int, max_cells: int) -> None:
    rng = np.random.default_rng(most)
    table = rng.standard_normal((NUM_PICTURES, NUM_TEXTS))
    sums = table + 3 * rng.standard_normal(table.shape)

    def columns(some: slice) -> Any:
        return table[:, some]

    pairs = candidates(columns, NUM_PICTURES, NUM_TEXTS, most, max_cells)
    assert pairs.cosines == pytest.approx(table[pairs.pictures, pairs.texts])
    before = both_ranks(columns, OWNERS, NUM_PICTURES)
    of_texts, of_pictures = reranked(before, pairs, sums[pairs.pictures, pairs.texts], OWNERS)
    right = np.arange(NUM_PICTURES)[:, None] == OWNERS
    assert of_texts.tolist() == [
        slow_rank(table[:, one], sums[:, one], right[:, one], most) for one in range(NUM_TEXTS)
    ]
    assert of_pictures.tolist() == [
        slow_rank(table[one], sums[one], right[one], most) for one in range(NUM_PICTURES)
    ]


def test_what_is_never_found_is_no_candidate() -> None:
    table = np.array([[0.1, 0.9], [-np.inf, -np.inf]])
    pairs = candidates(lambda some: table[:, some], 2, 2, 5)
    assert (pairs.pictures.tolist(), pairs.texts.tolist()) == ([0, 0], [0, 1])
    before = both_ranks(lambda some: table[:, some], np.array([0, 1]), 2)
    of_texts, of_pictures = reranked(before, pairs, pairs.cosines, np.array([0, 1]))
    assert of_texts.tolist() == [1, np.inf]
    assert of_pictures.tolist() == [2, np.inf]


def test_a_model_ranks_its_best_as_its_parts_say(scenes: Path, tmp_path: Path) -> None:
    most = 4
    model = tiny_model(tmp_path, "blip2-itc")
    texts = data(scenes, "retrieve", captions="description", rerank=most)
    found = only(evaluate(model.model, texts))
    plain = only(evaluate(model.model, data(scenes, "retrieve", captions="description")))
    assert found.values != plain.values

    paths = [one.path for one in texts.pictures]
    said = [one.captions[0] for one in texts.pictures]
    views = model.image_processor([str(path) for path in paths])
    pixels = [view.pixels if hasattr(view, "pixels") else view for view in views]
    vectors = model.model.embed_images(pixels)  # (P, Q, D)
    table = np.einsum("pqd,td->ptq", vectors, model.model.embed_text(said)).max(axis=-1)
    features = model.model.see_features(pixels)
    logits = [model.model.match_logits(np.stack([one] * len(said)), said) for one in features]
    sums = table + np.stack(logits)[:, :, 1]
    right = np.eye(len(said), dtype=bool)
    ranks = {
        "text_to_image": [slow_rank(*of, most) for of in zip(table.T, sums.T, right, strict=True)],
        "image_to_text": [slow_rank(*of, most) for of in zip(table, sums, right, strict=True)],
    }
    for way, places in ranks.items():
        for k in (1, 5, 10):
            assert found.values[f"{way}_r{k}"] == np.mean(np.array(places) <= k)


def test_what_cannot_match_is_refused(scenes: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, "clip")
    with pytest.raises(UserError, match="take a retrieval checkpoint of BLIP or BLIP-2"):
        model.evaluate(str(scenes), task="retrieve", rerank=4)
    for task in ("caption", "detect"):
        with pytest.raises(UserError, match=f"the task is {task}: leave --rerank out"):
            open_labels(str(scenes), "val", task, rerank=4)


def tiny_model(folder: Path, name: str) -> Any:
    tiny.write(name, folder / name)
    return lakesight.load(str(folder / name), device="cpu", allow_licence=("unknown",))
