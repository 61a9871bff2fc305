"""A model in Python: it looks, is judged, trained and exported, all in this process."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import lakesight
from lakesight.errors import UserError
from lakesight.loaded import LoadedModel
from lakesight.metrics import Bootstrap, DetectionResult, LanguageResult
from lakesight.models.look import look
from lakesight.training.loop import Callback, Progress
from tests import yolo_folders
from tests.lakesight.models import tiny as checkpoints
from workflows.__main__ import main
from workflows.evaluate import Evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaded") / "model"
    yolo_folders.write(folder, "detect")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return lakesight.load(str(folder), score_threshold=0.5)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaded") / "scenes"
    words = ["--num-images", "8", "--num-val", "4", "--size", "96", "--processes", "1"]
    assert main(["scenes", str(folder), *words]) == 0
    return folder


def labelled(tmp_path: Path, scenes: Path) -> str:
    """Return scenes whose classes are those of the tiny model."""
    content = json.loads((scenes / "annotations" / "instances_val.json").read_bytes())
    content["categories"] = [
        {"id": number, "name": label} for number, label in enumerate(yolo_folders.LABELS)
    ]
    for one in content["annotations"]:
        one["category_id"] %= 3
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return str(path)


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))


def test_one_picture_of_any_form_is_one_result(model: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    image().save(path)
    forms: list[Any] = [path, str(path), path.read_bytes(), image(), np.asarray(image())]
    expected = look(model.model, [path])
    assert len(expected[0]) > 0
    for form in forms:
        results = model.predict(form)
        assert len(results) == 1
        assert results.column.equals(expected)
        assert results[0].size_wh == (90, 70)
    several = model.predict(tuple(forms), batch_size=2)
    assert several.column.to_pylist() == expected.to_pylist() * 5


def test_no_pictures_are_no_results(model: LoadedModel) -> None:
    results = model.predict([])
    assert len(results) == 0
    assert results.column.type == model.model.output.type
    assert results.to_table().num_rows == 0


def test_a_model_says_what_it_is(model: LoadedModel, folder: Path) -> None:
    assert repr(model) == f"<LoadedModel tiny-detect: detect, {model.model.runs_on}>"
    assert (model.name, model.card.labels) == (str(folder), yolo_folders.LABELS)
    scores = [one["score"] for one in model.predict(image())[0].value]
    assert min(scores) >= 0.5


def test_text_is_embedded_where_the_model_knows_text(model: LoadedModel, tmp_path: Path) -> None:
    folder = str(checkpoints.write("clip", tmp_path / "clip"))
    with pytest.raises(UserError, match="under 'unknown', which is not on the list of licences"):
        lakesight.load(folder)
    clip = lakesight.load(folder, allow_licence=["unknown"], device="cpu")
    vectors = clip.embed_text(["a red bus"])
    assert vectors.shape == (1, clip.model.output.type.list_size)
    with pytest.raises(UserError, match="tiny-detect embeds no text"):
        model.embed_text(["a red bus"])


def test_earlier_columns_go_along(tmp_path: Path) -> None:
    detector = lakesight.load("ssd-mobilenet-v2-coco", num_threads=2)
    pose = lakesight.load("movenet-lightning", num_threads=2)
    pictures = [image()] * 3
    found = detector.predict(pictures, batch_size=2)
    seen = pose.predict(pictures, batch_size=2, detections=found.column)
    boxes = [[one["box"] for one in objects] for objects in seen.column.to_pylist()]
    assert boxes == [[one["box"] for one in objects] for objects in found.column.to_pylist()]
    with pytest.raises(UserError, match="there are no detections"):
        pose.predict(pictures)


def test_evaluate_is_that_of_the_command(
    folder: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, images = labelled(tmp_path, scenes), str(scenes / "images" / "val")
    model = lakesight.load(str(folder))
    result = model.evaluate(labels, images=images, bootstrap=True, slice=["label"])
    given = model.evaluate(labels, images=images, bootstrap=Bootstrap(), slice=["label"])
    assert given.to_dict() == result.to_dict()
    words = ["--images", images, "--bootstrap", "--slice", "label", "--json"]
    assert main(["evaluate", str(folder), labels, *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert result.to_dict() == {name: told[name] for name in result.to_dict()}
    box = result.results["box"]
    assert isinstance(box, DetectionResult)
    assert (box.num_pictures, len(result.slices["label"])) == (4, len(told["slices"]["label"]))
    assert box.num_found > 0


def test_options_that_were_asked_for_are_judged(
    model: LoadedModel, folder: Path, scenes: Path, tmp_path: Path
) -> None:
    labels, images = labelled(tmp_path, scenes), str(scenes / "images" / "val")
    few, many = (
        one.evaluate(labels, images=images).results["box"]
        for one in (model, lakesight.load(str(folder)))
    )
    assert isinstance(few, DetectionResult)
    assert isinstance(many, DetectionResult)
    assert few.num_found < many.num_found


def test_evaluate_takes_the_settings_of_the_command() -> None:
    of_load = {"model", "set", "runtime", "allow_licence"}
    of_an_output = {"column", "text_model"}
    of_a_terminal = {"plots", "json_output"}
    of_a_cluster = {"num_workers", "gpus", "address", "verbose"}
    ours = set(inspect.signature(LoadedModel.evaluate).parameters) - {"self"}
    theirs = set(Evaluate.model_fields) - of_load - of_an_output
    assert ours == theirs - of_a_terminal - of_a_cluster


LICENCES = ["unknown", "opt-175b-licence"]


def test_words_are_judged_as_by_the_command(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(checkpoints.write("blip2-opt", tmp_path / "blip2"))
    given: dict[str, Any] = {"device": "cpu", "num_beams": 1, "max_new_tokens": 3}
    model = lakesight.load(folder, allow_licence=LICENCES, **given)
    asked, images = short(scenes, tmp_path), str(scenes / "images" / "val")

    def printed(data: str, *words: str) -> Any:
        settings = [word for one in given.items() for word in ("--set", "=".join(map(str, one)))]
        accepted = [word for one in LICENCES for word in ("--allow-licence", one)]
        assert main(["evaluate", folder, data, *words, *settings, *accepted, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["results"]

    assert model.card.kind == "caption"
    answers = model.evaluate(asked, task="answer", images=images)
    (found,) = answers.results.values()
    assert isinstance(found, LanguageResult)
    assert found.counts == {"questions": 4, "pictures": 4}
    assert answers.to_dict()["results"] == printed(asked, "--task", "answer", "--images", images)
    words = ["--captions", "description", "--batch-size", "3"]
    described = model.evaluate(str(scenes), captions="description", batch_size=3)
    assert described.to_dict()["results"] == printed(str(scenes), *words)
    with pytest.raises(UserError, match="spice are figures of captions"):
        model.evaluate(asked, task="answer", images=images, extra=["spice"])
    with pytest.raises(UserError, match="expected a model of kind embed, but blip2 is of kind"):
        model.evaluate(str(scenes), task="retrieve")


def short(scenes: Path, tmp_path: Path) -> str:
    """Write a short question about each picture."""
    names = sorted(one.name for one in (scenes / "images" / "val").iterdir())
    asked = [{"image": name, "question": "red?", "answer": "yes"} for name in names]
    path = tmp_path / "short.json"
    path.write_text(json.dumps(asked))
    return str(path)


def test_features_and_matches_of_pictures_of_any_form(
    model: LoadedModel, scenes: Path, tmp_path: Path
) -> None:
    folder = str(checkpoints.write("blip2-itc", tmp_path / "itc"))
    finder = lakesight.load(folder, allow_licence=["unknown"], device="cpu")
    paths: list[Any] = sorted((scenes / "images" / "val").iterdir())
    forms = [paths[0], paths[1].read_bytes(), Image.open(paths[2])]
    views, texts = finder.image_processor(forms), ["a red star", "a dog", "two hearts"]
    own: Any = finder.model
    np.testing.assert_array_equal(finder.match(forms, texts), own.match(views, texts))
    assert finder.match(paths[0], "a red star").shape == (1,)
    for given in (
        {"images": forms},
        {"images": forms, "level": "hidden"},
        {"texts": texts, "mode": "text"},
        {"images": forms, "texts": texts, "mode": "multimodal", "level": "hidden"},
    ):
        found = finder.extract_features(**given)
        wanted = own.extract_features(**given | ({"images": views} if "images" in given else {}))
        np.testing.assert_array_equal(found.values, wanted.values)
    assert finder.extract_features(paths[0]).values.shape == (1, 6, 16)
    with pytest.raises(UserError, match="as many pictures as texts"):
        finder.match(paths[0], texts)
    with pytest.raises(UserError, match="tiny-detect gives no features of pictures and texts"):
        model.extract_features(paths[0])
    with pytest.raises(UserError, match="tiny-detect gives no features of pictures and texts"):
        model.match(paths[0], "a dog")


def test_questions_are_asked_of_every_picture(
    model: LoadedModel, scenes: Path, tmp_path: Path
) -> None:
    folder = str(checkpoints.write("blip2-opt", tmp_path / "blip2"))
    how: dict[str, Any] = {"allow_licence": LICENCES, "device": "cpu"}
    answerer = lakesight.load(folder, kind="answer", **how)
    paths: list[Any] = sorted((scenes / "images" / "val").iterdir())[:3]
    found = answerer.answer(paths, ["is it red?", "a dog?"], ["yes", "no"], batch_size=2)
    asked = pa.array([["is it red?", "a dog?"]] * 3, pa.list_(pa.string()))
    choice = pa.array([["yes", "no"]] * 3, pa.list_(pa.string()))
    assert found.column.equals(answerer.predict(paths, questions=asked, candidates=choice).column)
    assert {one["answer"] for value in found for one in value.value} <= {"yes", "no"}
    (one,) = answerer.answer(paths[0], "is it red?", ["yes", "no"])[0].value
    assert (one["question"], one["answer"]) == ("is it red?", found[0].value[0]["answer"])
    with pytest.raises(UserError, match="the question is empty"):
        answerer.answer(paths[0], " ")
    with pytest.raises(UserError, match=r'blip2 was loaded to caption, .* kind="answer"'):
        lakesight.load(folder, **how).answer(paths[0], "is it red?")
    with pytest.raises(UserError, match="tiny-detect was loaded to detect, and answers nothing"):
        model.answer(paths[0], "is it red?")


@pytest.fixture(scope="module")
def said(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return how to train on pictures with captions that any context has room for."""
    images = scenes / "images" / "train"
    entries = [{"image": one.name, "caption": "a red star"} for one in sorted(images.iterdir())]
    path = tmp_path_factory.mktemp("said") / "said.json"
    path.write_text(json.dumps(entries))
    given = {"val": str(path), "images": str(images), "val_images": str(images)}
    return {"data": str(path), **given, "epochs": 1, "batch_size": 4, "max_tokens": 16}


def test_a_finder_is_trained_on_as_one(said: dict[str, Any], tmp_path: Path) -> None:
    small = {"width": 16, "layers": 2, "heads": 2}
    size = {"image_size": 32, "patch_size": 8, "vision": small, "qformer": small, "shared": 8}
    new: dict[str, Any] = {"task": "retrieve", "size": size, "freeze_vision": False}
    finder = lakesight.train(output=str(tmp_path / "finder"), **said, **new)
    trained = finder.train(output=str(tmp_path / "better"), **said)
    assert (trained.card.kind, trained.card.family) == ("embed", "image-text")
    assert "from finder" in trained.card.provenance


@pytest.mark.parametrize("kind", ["caption", "answer", "caption_crops"])
def test_a_writer_is_trained_on_as_one(kind: Any, said: dict[str, Any], tmp_path: Path) -> None:
    folder = str(checkpoints.write("blip2-opt", tmp_path / "writer"))
    writer = lakesight.load(folder, kind=kind, allow_licence=LICENCES, device="cpu")
    trained = writer.train(output=str(tmp_path / "better"), questions={"share": 0}, **said)
    assert (trained.card.kind, trained.card.family) == ("caption", "captioner")
    assert "from writer" in trained.card.provenance


def test_what_nothing_trains_says_so(scenes: Path, tmp_path: Path) -> None:
    model = lakesight.load("ssd-mobilenet-v2-coco", num_threads=1)
    with pytest.raises(UserError, match="of the family tf-detection, which cannot be trained"):
        model.train(str(scenes), str(tmp_path / "better"))


class Told(Callback):
    """Counts the epochs."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch(self, progress: Progress) -> None:
        self.epochs = progress.epoch


def test_training_goes_on_from_a_models_weights(folder: Path, scenes: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "shapes")
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0}
    told = Told()
    theirs = shutil.copytree(folder, tmp_path / "theirs")
    card = json.loads((theirs / "card.json").read_text())
    card["licences"]["weights"] = "AGPL-3.0-only"
    (theirs / "card.json").write_text(json.dumps(card))
    model = lakesight.load(str(theirs), allow_licence=["AGPL-3.0-only"])
    trained = model.train(str(scenes), output, callbacks=[told], **settings)
    assert told.epochs == 1
    assert trained.card.licences.weights == "AGPL-3.0-only AND LicenseRef-own"
    assert trained.card.name == "shapes"
    assert (trained.model.view.width, len(trained.card.labels or ())) == (96, 12)
    assert "from tiny-detect:" in trained.card.provenance
    names = {one.name for one in (tmp_path / "shapes" / "training").iterdir()}
    assert {"results.csv", "labels.png", "batch_1.png", "curves.png", "samples.png"} <= names
    weights = (tmp_path / "shapes" / "model.safetensors").read_bytes()
    again = model.train(str(scenes), output, callbacks=[told], **settings)  # it is done
    assert (tmp_path / "shapes" / "model.safetensors").read_bytes() == weights
    assert again.predict(image()).column.equals(trained.predict(image()).column)
    with pytest.raises(UserError, match="epochs: 1, now 2"):
        model.train(str(scenes), output, **settings | {"epochs": 2})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, r"epoch: there is no such setting, did you mean epochs\? \(got 3\)"),
        ({"augmentation": {"mosaic": 2}}, r"augmentation\.mosaic: Input should be less"),
        (
            {"task": "find"},
            "expected a task, one of obb, segment, pose, detect, classify, write, retrieve, but",
        ),
    ],
)
def test_wrong_settings_are_said(
    scenes: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        lakesight.train(str(scenes), str(tmp_path / "model"), **settings)
    assert not (tmp_path / "model").exists()
    with pytest.raises(UserError, match="is a bucket: train into a folder"):
        lakesight.train(str(scenes), "s3://bucket/model")


def test_an_export_is_run_by_the_next_load(folder: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "exported")
    done = lakesight.load(str(folder)).export("torchscript", output, num_views=2, num_labelled=0)
    assert Path(done.report).is_file()
    assert done.artefact.name == "torchscript"
    assert [one.name for one in lakesight.load(output).card.artefacts] == ["torchscript"]
    with pytest.raises(
        UserError, match="num_view: there is no such setting, did you mean num_views"
    ):
        lakesight.load(str(folder)).export("torchscript", num_view=2)
