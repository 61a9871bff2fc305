"""The processors of a loaded model, against transformers' own."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import transformers
from PIL import Image

import lakesight
from lakesight.errors import UserError
from tests import yolo_folders
from tests.lakesight.models import tiny

hf: Any = transformers  # typed only in part


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))


def test_pictures_become_what_the_model_takes(tmp_path: Path) -> None:
    yolo_folders.write(tmp_path / "model", "detect")
    model = lakesight.load(str(tmp_path / "model"))
    assert model.text_processor is None
    path = tmp_path / "one.png"
    image().save(path)
    views = model.image_processor([path, image(), np.asarray(image())])
    assert views.shape == (3, 96, 96, 3)
    assert views.dtype == np.uint8
    assert np.array_equal(views[0], views[1])
    assert np.array_equal(model.image_processor(path), views[:1])
    assert model.image_processor([]).shape == (0, 96, 96, 3)
    rows = pa.table({"width": pa.array([90], pa.int32()), "height": pa.array([70], pa.int32())})
    assert model.model.predict(list(views[:1]), rows).equals(model.predict(path).column)
    with pytest.raises(UserError, match="cannot read the picture"):
        model.image_processor(tmp_path / "two.png")


@pytest.mark.parametrize("name", ["clip", "siglip", "blip2-itc"])
def test_pictures_and_texts_of_an_image_text_model(name: str, tmp_path: Path) -> None:
    folder = tiny.write(name, tmp_path / name)
    model = lakesight.load(str(folder), allow_licence=["unknown"], device="cpu")
    views = model.image_processor(image())
    family: Any = model.model
    assert np.allclose(
        family.extract_features(images=views).values[0].mean(0),
        family.embed_images(views)[0].mean(0),
    )
    texts = ["a red bus", "a"]
    own = hf.AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
    assert model.text_processor is not None
    assert [one.tolist() for one in model.text_processor(texts)] == own
    assert model.text_processor("a red bus")[0].tolist() == own[0]
    assert model.text_processor([]) == []


@pytest.mark.parametrize("name", ["blip2-opt", "blip2-t5"])
def test_prompts_and_questions(name: str, tmp_path: Path) -> None:
    folder = tiny.write(name, tmp_path / name)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    consent: dict[str, Any] = {"device": "cpu", "allow_licence": ["unknown", "opt-175b-licence"]}
    captioner = lakesight.load(str(folder), **consent)
    assert captioner.text_processor is not None
    (prompt,) = captioner.text_processor("a red")
    words = tokenizer("a red")["input_ids"]
    assert prompt.tolist()[-len(words) :] == words
    assert len(set(prompt.tolist()[: -len(words)])) == 1  # what stands for the picture
    answerer = lakesight.load(str(folder), kind="answer", **consent)
    assert answerer.text_processor is not None
    (question,) = answerer.text_processor(["what is red?"])
    asked = tokenizer("Question: what is red? Short answer:")["input_ids"]
    assert question.tolist() == [*prompt.tolist()[: -len(words)], *asked]
    with pytest.raises(UserError, match="the prompt is empty"):
        captioner.text_processor(" ")
    with pytest.raises(UserError, match=r"takes \d+ tokens, the picture's included: expected at"):
        answerer.text_processor("red " * 600)
    with pytest.raises(UserError, match="the prompt is empty"):
        captioner.predict(image(), prompt=pa.array([" "]))
    with pytest.raises(UserError, match="nowhere has no captions of pictures"):
        captioner.train("nowhere", str(tmp_path / "trained"), task="write")
    texts = pa.list_(pa.string())
    for questions, candidates, message in (
        (["red " * 600], None, r"takes \d+ tokens"),
        (["why?"], [], "`candidates` are empty: expected some, or null"),
        ([" "], None, "the question is empty"),
    ):
        own = {
            "questions": pa.array([questions], texts),
            "candidates": pa.array([candidates], texts),
        }
        with pytest.raises(UserError, match=message):
            answerer.predict(image(), **own)
