"""Shares that are judged apart, as by workers, and merged: the figures of one judge of all."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.evaluation import (
    Evaluation,
    Judge,
    add_pictures,
    add_rows,
    evaluate,
    evaluate_output,
    field_of,
    judge_of,
    labelled_shares,
    noted,
    open_judge,
    open_judged,
    shares_of,
)
from lakesight.lake.reader import Lake
from lakesight.metrics import Bootstrap
from lakesight.models import catalog
from lakesight.models.yolo.architecture import Task
from lakesight.schemas import ANSWERS, CAPTIONS, embedding_type
from tests.lakesight.models import tiny
from tests.worded import data, write_rows
from tests.yolo_folders import LABELS

from .test_evaluate import renamed

BOOTSTRAP = Bootstrap(resamples=20)


def sent(one: Any) -> Any:
    """Return what arrives at another process."""
    return pickle.loads(pickle.dumps(one))


def told(result: Evaluation) -> dict[str, Any]:
    """Return every figure, in a form in which what is unknown equals itself."""
    return result.to_dict()


@pytest.mark.parametrize("task", ["detect", "segment", "obb", "classify"])
def test_a_model_judged_in_shares(task: Task, scenes: Path, model: Callable[[Task], str]) -> None:
    spec = catalog.spec(model(task))
    judged = open_judged(spec, {}, str(scenes), "val", task)
    known = renamed(judged.data, LABELS[:2])  # type: ignore[arg-type]  # so that some are strange
    whole = evaluate(judged.model, known, BOOTSTRAP, ["folder"], batch_size=2)
    judge = open_judge(judged.model, known)
    fresh = sent(judge)
    shares = shares_of(known, 4, batch_size=2)
    assert [len(one) for one in shares] == [4, 4, 4]
    for share in shares:
        part = sent(fresh)
        add_pictures(part, judged.model, sent(share), batch_size=2)
        judge.merge(sent(part))
    assert told(judge.result(BOOTSTRAP, ["folder"])) == told(whole)
    assert whole.results
    with pytest.raises(UserError, match="came again"):
        judge.merge(part)


@pytest.mark.parametrize(
    ("num_shares", "sizes"), [(1, [12]), (2, [10, 2]), (3, [5, 5, 2]), (9, [5, 5, 2])]
)
def test_a_share_is_of_whole_batches(num_shares: int, sizes: list[int], scenes: Path) -> None:
    texts = data(scenes, "caption")
    shares = shares_of(texts, num_shares, batch_size=5)
    assert [len(one) for one in shares] == sizes
    assert [picture for one in shares for picture in one.pictures] == list(texts.pictures)
    assert {one.task for one in shares} == {"caption"}


def written(scenes: Path, folder: Path) -> Lake:
    """Return an output in three files of words and vectors, some of them missing or strange."""
    rng = np.random.default_rng(0)
    captions = data(scenes, "caption")
    rows: dict[str, Any] = {}
    for number, (one, other) in enumerate(
        zip(captions.pictures, data(scenes, "answer").pictures, strict=True)
    ):
        asked = [*other.questions[number % 2 :]]
        said = [{"question": each.text, "answer": "red", "score": 0.5} for each in asked]
        rows[one.path.name] = {
            "captions": [{"text": one.captions[-1], "score": -1.0, "prompt": None}],
            "answers": None if number == 3 else [*said, {"question": "why?", "answer": "so"}],
            "embeddings": rng.standard_normal((2, 8)).tolist(),
        }
    rows[captions.pictures[5].path.name] = None
    fields = [
        pa.field("captions", CAPTIONS),
        pa.field("answers", ANSWERS),
        pa.field("embeddings", pa.list_(embedding_type(8))),
    ]
    return lakesight.open(write_rows(scenes / "images" / "val", folder, fields, rows))


class Random:
    """A real encoder, of no sense: a vector for each text."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        seeds = [sum(text.encode()) for text in texts]
        return np.array([np.random.default_rng(seed).random(8) for seed in seeds], np.float32)


@pytest.mark.parametrize(
    ("task", "column", "slices"),
    [
        ("caption", "captions", ["label"]),
        ("answer", "answers", ["kind"]),
        ("retrieve", "embeddings", ["label"]),
    ],
)
def test_an_output_judged_in_shares(
    task: str, column: str, slices: list[str], scenes: Path, tmp_path: Path
) -> None:
    lake, texts = written(scenes, tmp_path / "seen"), data(scenes, task)
    encoder = Random()
    whole = evaluate_output(lake, texts, column, BOOTSTRAP, slices, encoder=encoder)
    judge: Judge[Any] = judge_of(texts, field_of(lake, column), encoder)
    fresh = sent(judge)
    shares, notes = labelled_shares(lake, texts, 5)
    assert [len(share.pairs) for share in shares] == [4, 4, 4]
    for share in shares:
        part = sent(fresh)
        add_rows(part, sent(share), column)
        judge.merge(sent(part))
    assert told(noted(judge.result(BOOTSTRAP, slices), notes)) == told(whole)
    assert whole.notes


def test_a_search_is_judged_in_shares_without_its_encoder(scenes: Path, tmp_path: Path) -> None:
    folder = tiny.write("clip", tmp_path / "clip")
    spec = catalog.spec(str(folder), None, {"device": "cpu"}, "auto", ["unknown"])
    judged = open_judged(spec, {}, str(scenes), "val")
    whole = evaluate(judged.model, judged.data, BOOTSTRAP, batch_size=4)
    judge = open_judge(judged.model, judged.data)
    assert len(pickle.dumps(judge)) < 10_000  # and no weights
    fresh = sent(judge)
    for share in shares_of(judged.data, 2, batch_size=4):
        part = sent(fresh)
        add_pictures(part, judged.model, share, batch_size=4)
        judge.merge(sent(part))
    assert told(judge.result(BOOTSTRAP)) == told(whole)


def test_an_output_is_cut_into_its_files(scenes: Path, tmp_path: Path) -> None:
    lake = written(scenes, tmp_path / "seen")
    whole = lake.dataset().to_table()["uri"].to_pylist()
    for num_parts, sizes in {1: [12], 2: [8, 4], 3: [4, 4, 4], 7: [4, 4, 4]}.items():
        parts = [sent(part) for part in lake.parts(num_parts)]
        assert [part.count() for part in parts] == sizes
        uris = [uri for part in parts for uri in part.latest().read_all()["uri"].to_pylist()]
        assert uris == whole
        assert [file for part in parts for file in part.files()] == lake.files()
