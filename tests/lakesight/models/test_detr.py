"""Detection, against transformers' own processor, model and post-processing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
import transformers
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.models.detr import Detr
from lakesight.schemas import detection_type

hf: Any = transformers  # typed only in part
Checkpoint = Callable[[str], Path]
Load = Callable[..., Any]
Pictures = Callable[..., list[Image]]
Floats = npt.NDArray[np.floating]

SIZES = [(640, 480), (100, 300), (64, 64)]
CLASSES = {"d-fine": hf.DFineForObjectDetection, "rt-detr-v2": hf.RTDetrV2ForObjectDetection}
both = pytest.mark.parametrize("name", CLASSES)


@pytest.fixture(scope="module")
def views(pictures: Pictures) -> list[Image]:
    return pictures(len(SIZES), 64, 64)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    width, height = zip(*SIZES, strict=True)
    return pa.table({"width": width, "height": height})


def transformers_own(
    name: str, folder: Path, views: list[Image], threshold: float
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Boxes, scores and class ids by transformers alone, clipped to the picture."""
    processor = hf.RTDetrImageProcessorPil.from_pretrained(folder)
    model = CLASSES[name].from_pretrained(folder).eval()
    with torch.inference_mode():
        out = model(**processor(images=views, return_tensors="pt"))
    sizes = [(height, width) for width, height in SIZES]
    found = processor.post_process_object_detection(out, threshold, sizes)
    for (width, height), one in zip(SIZES, found, strict=True):
        limit = torch.tensor([width, height, width, height])
        boxes = torch.minimum(one["boxes"].clamp(min=0), limit)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        yield boxes[seen].numpy(), one["scores"][seen].numpy(), one["labels"][seen].numpy()


@both
def test_detections_are_those_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    # transformers keeps as many pairs as there are queries: 20
    model = load(checkpoint(name), score_threshold=0.4, max_detections=20)
    found = model.predict(views, rows)
    assert found.type == detection_type()
    wanted = list(transformers_own(name, checkpoint(name), views, 0.4))
    assert sum(len(scores) for _, scores, _ in wanted) > 20
    for mine, (boxes, scores, class_ids) in zip(found.to_pylist(), wanted, strict=True):
        assert [one["class_id"] for one in mine] == class_ids.tolist()
        np.testing.assert_allclose([one["score"] for one in mine], scores, atol=1e-5)
        np.testing.assert_allclose([one["box"] for one in mine], boxes, atol=0.01)


@both
def test_the_view_is_the_checkpoints(name: str, checkpoint: Checkpoint, load: Load) -> None:
    view = load(checkpoint(name)).view
    assert (view.width, view.height, view.fit, view.interpolation) == (64, 64, "squash", "bilinear")


@both
def test_a_picture_does_not_depend_on_its_neighbours(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    model = load(checkpoint(name), score_threshold=0.4)
    together = model.predict(views, rows).to_pylist()
    for number in range(len(views)):
        (alone,) = model.predict(views[number : number + 1], rows.slice(number, 1)).to_pylist()
        assert [one["class_id"] for one in alone] == [one["class_id"] for one in together[number]]
        boxes = [[one["box"] for one in found] for found in (alone, together[number])]
        np.testing.assert_allclose(boxes[0], boxes[1], atol=0.01)


@both
def test_bfloat16_scores_are_nearly_the_same(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    exact, rough = (
        load(checkpoint(name), dtype=dtype, score_threshold=0).predict(views, rows).to_pylist()
        for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(exact, rough, strict=True):
        assert other[0]["score"] == pytest.approx(one[0]["score"], abs=0.05)


def test_float16_is_refused() -> None:
    with pytest.raises(ValidationError, match="dtype"):
        Detr.Options(dtype="float16")


def test_max_detections_keeps_the_best(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    every = load(checkpoint("d-fine"), score_threshold=0).predict(views, rows).to_pylist()
    best = load(checkpoint("d-fine"), score_threshold=0, max_detections=2)
    for all_found, found in zip(every, best.predict(views, rows).to_pylist(), strict=True):
        scores = [one["score"] for one in all_found]
        assert scores == sorted(scores, reverse=True)
        assert [one["score"] for one in found] == pytest.approx(scores[:2])


def test_nothing_found_and_no_pictures_keep_the_type(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    model = load(checkpoint("d-fine"), score_threshold=1)
    assert model.predict(views, rows).to_pylist() == [[], [], []]
    assert model.predict([], rows.slice(0, 0)).type == detection_type()


def test_labels_are_the_checkpoints_or_the_cards(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder = checkpoint("d-fine")
    found = load(folder, score_threshold=0).predict(views, rows).to_pylist()[0]
    assert {one["label"] for one in found} <= {"person", "bicycle", "bus"}
    card = load(folder).card.model_copy(update={"labels": ("a", "b", "c")})
    renamed = Detr(card, folder, Detr.Options(score_threshold=0), "torch").predict(views, rows)
    assert {one["label"] for one in renamed.to_pylist()[0]} <= {"a", "b", "c"}


def test_labels_that_are_too_few_are_refused(checkpoint: Checkpoint, load: Load) -> None:
    folder = checkpoint("d-fine")
    card = load(folder).card.model_copy(update={"labels": ("a", "b")})
    with pytest.raises(UserError, match="3 classes, but its card names 2"):
        Detr(card, folder, Detr.Options(), "auto")


def test_another_runtime_is_refused(checkpoint: Checkpoint, load: Load) -> None:
    with pytest.raises(UserError, match="runs on torch only"):
        load(checkpoint("d-fine"), runtime="openvino")


def test_a_pickle_in_place_of_safetensors_is_refused(
    checkpoint: Checkpoint, load: Load, tmp_path: Path
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(checkpoint("d-fine"), folder)
    card = load(folder).card
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"expected model\.safetensors"):
        Detr(card, folder, Detr.Options(), "auto")


def test_weights_that_do_not_cover_the_model_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, load: Load
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "cut"
    shutil.copytree(checkpoint("d-fine"), folder)
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "enc_output" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors of the model, such as .*enc_output"):
        load(folder)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@both
def test_a_gpu_finds_the_same(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder = checkpoint(name)
    card = load(folder).card
    scores = []
    for device in ("cpu", "cuda"):
        options = Detr.Options(device=device, score_threshold=0, max_detections=5)
        found = Detr(card, folder, options, "auto").predict(views, rows).to_pylist()
        scores.append([[one["score"] for one in objects] for objects in found])
    np.testing.assert_allclose(scores[0], scores[1], atol=0.01)
