"""BLIP-2's first stage from scenes to a model folder: real classes, a few thousand weights."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import lakesight
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.blip2.pretraining import WRITER
from lakesight.models.image_text import ImageText
from lakesight.training.binding import bind
from lakesight.training.blip2.beginning import made_tokenizer
from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.tower import place
from lakesight.training.blip2.training import FirstStageTraining, SecondStageTraining
from lakesight.training.families import job_type, open_training
from lakesight.training.loop import STATE
from tests.lakesight.models import tiny
from tests.lakesight.training.blip2.second import job as written_job

SMALL = {"width": 16, "layers": 2, "heads": 2}
SIZE = {
    "image_size": 32,
    "patch_size": 8,
    "vision": SMALL,
    "qformer": SMALL,
    "cross_every": 1,
    "num_queries": 3,
    "shared": 8,
    "vocabulary": 120,
}
FILE, PIXELS = "model.safetensors", "preprocessor_config.json"
SETTINGS = {"size": SIZE, "epochs": 1, "batch_size": 4, "freeze_vision": False, "max_tokens": 24}


def noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


def job(scenes: Path, **more: Any) -> FirstStageJob:
    return FirstStageJob.model_validate({"data": str(scenes)} | SETTINGS | more)


@pytest.fixture(scope="module")
def folder(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model") / "finder"
    training = open_training(job(scenes))
    bind(job(scenes), made)
    training.fit(made, training.followers())
    training.finish(made)
    return made


def test_a_task_has_its_settings() -> None:
    assert job_type("retrieve") is FirstStageJob
    assert FirstStageJob(data="d").optimizer == "adamw"  # and no common default
    with pytest.raises(UserError, match=r"one of obb, .*write, retrieve, but got 'sing'"):
        job_type("sing")


def test_what_is_written_is_a_model_that_lakesight_loads(folder: Path, scenes: Path) -> None:
    model = lakesight.load(str(folder))
    pictures = [noise(), np.zeros((40, 60, 3), np.uint8)]
    column = model.predict(pictures).column
    assert [len(value) for value in column.to_pylist()] == [8, 8]
    encoder = catalog.build(catalog.spec(str(folder)))
    texts = encoder.embed_text(["a red circle", "a blue star"])  # type: ignore[attr-defined]
    assert texts.shape == (2, 8)
    card = catalog.resolve(str(folder))
    assert (card.name, card.kind, card.family) == ("finder", "embed", "image-text")
    told = json.loads((folder / STATE / "evaluation.json").read_text())
    recall = told["results"]["retrieval"]["text_to_image_r1"]
    assert card.metrics["retrieval/text_to_image_r1"] == pytest.approx(recall, abs=1e-4)
    assert "8 pictures" in card.provenance
    assert f"from {scenes}" not in card.provenance
    assert bind(job(scenes), folder)  # it is done


def test_half_of_the_bytes(folder: Path, scenes: Path, tmp_path: Path) -> None:
    training = FirstStageTraining(job(scenes, half=False))
    training.fit(tmp_path / "whole")
    card, _ = training.finish(tmp_path / "whole", "s3://lake/whole")
    assert card.name == "whole"
    sizes = [(one / FILE).stat().st_size for one in (folder, tmp_path / "whole")]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_training_begins_with_another(folder: Path, scenes: Path, tmp_path: Path) -> None:
    """With a learning rate of next to nothing, what it began with is what it ends with."""
    settings = {"weights": str(folder), "learning_rate": 1e-12, "half": False, "size": {}}
    training = FirstStageTraining(job(scenes, **settings))
    assert training.told().endswith(f"from {folder}")
    training.fit(tmp_path)
    card, _ = training.finish(tmp_path)
    assert "from finder" in card.provenance
    views = [noise()]
    before, after = (lakesight.load(str(one)).predict(views).column for one in (folder, tmp_path))
    assert np.allclose(before.to_pylist(), after.to_pylist(), atol=1e-3)


def test_what_nobody_trained_to_match_does_not(scenes: Path, folder: Path, tmp_path: Path) -> None:
    """A head as it was drawn would give probabilities of nothing."""
    apart, further = tmp_path / "apart", tmp_path / "further"
    for made, given in (
        (apart, {"loss": {"match": 0}}),
        (further, {"loss": {"match": 0}, "weights": str(folder)}),
    ):
        training = FirstStageTraining(job(scenes, **given))
        training.fit(made)
        training.finish(made)
    views, texts = [noise()[:32, :32]], ["a red circle"]
    unmatched, matched = (
        catalog.build(catalog.spec(str(one), options={"write": write}))
        for one, write in ((apart, "vectors"), (further, "features"))
    )
    assert isinstance(unmatched, ImageText)
    assert isinstance(matched, ImageText)
    with pytest.raises(UserError, match=r"nobody trained apart to match .*--loss\.match 1"):
        unmatched.match(views, texts)
    with pytest.raises(UserError, match="nobody trained apart to match"):
        catalog.build(catalog.spec(str(apart), options={"write": "features"}))
    assert unmatched.extract_features(views, texts, "multimodal", "hidden").values.any()
    assert 0 < matched.match(views, texts)[0] < 1  # what it began with was trained


def test_another_seed_is_another_network(scenes: Path, tmp_path: Path) -> None:
    found = [
        FirstStageTraining(job(scenes, seed=seed)).fit(tmp_path / str(number)).history[0]
        for number, seed in enumerate((0, 0, 1))
    ]
    assert found[0] == found[1] != found[2]
    assert torch.isfinite(torch.tensor(list(found[2].values()))).all()


def test_a_new_network_starts_from_no_noughts(scenes: Path) -> None:
    """A `Blip2VisionConfig` draws all but zeros, from which a tower learns much more slowly."""
    retrieval = FirstStageTraining(job(scenes)).begin().model.retrieval
    deviations = {
        name: float(weight.detach().std())
        for name, weight in retrieval.named_parameters()
        if weight.ndim > 1
    }
    assert any("vision_model" in name for name in deviations)
    assert min(deviations.values()) > 0.01


def test_a_tower_is_trained_before_the_rest(scenes: Path, tmp_path: Path) -> None:
    """By regions alone; what comes out finds nothing yet, and a first stage goes on from it."""
    nothing = {"contrast": 0, "match": 0, "write": 0, "regions": 1}
    tower, finder = tmp_path / "tower", tmp_path / "finder"
    training = FirstStageTraining(job(scenes, loss=nothing, learning_rate=0.01))
    training.fit(tower)
    training.finish(tower)
    seeing = "retrieval.vision_model.encoder.layers.0.mlp.fc1.weight"
    drawn = FirstStageTraining(job(scenes)).begin().model.get_parameter(seeing)
    going_on = FirstStageTraining(job(scenes, weights=str(tower), freeze_vision=True))
    learned = going_on.begin().model.get_parameter(seeing)
    assert float((learned - drawn).detach().abs().max()) > 3e-4
    history = going_on.fit(finder).history
    assert "text_to_image_r1" in history[0]
    assert "regions_f1" not in history[0]


CONSENT: dict[str, Any] = {"allow_licence": ["unknown", "opt-175b-licence"]}
"""To tiny checkpoints, whose licence nobody states."""


def test_a_checkpoint_of_transformers_begins_with_a_head_of_the_seed(
    scenes: Path, tmp_path: Path
) -> None:
    """It has no `writer.safetensors`; what is drawn must be the same in every process."""
    bare = str(tiny.write("blip2-itc", tmp_path / "bare"))
    heads = []
    for seed in (0, 0, 1):
        torch.rand(1)  # whatever was drawn before
        training = FirstStageTraining(job(scenes, weights=bare, seed=seed, **CONSENT))
        heads.append(training.begin().model.writer.dense.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert 0.2 < float(heads[0].detach().std()) < 0.4  # as the Q-Former's: see `tiny.TEXT`
    (row,) = training.fit(tmp_path / "out").history
    assert row["loss/write"] > 0


def test_a_head_that_lies_beside_a_checkpoint_is_taken(
    folder: Path, scenes: Path, tmp_path: Path
) -> None:
    """Without our card, too, as in a repository of the hub."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("card.json", STATE))
    training = FirstStageTraining(job(scenes, weights=str(copy), **CONSENT))
    head = load_file(folder / WRITER)
    for name, weight in training.begin().model.writer.state_dict().items():
        assert torch.equal(weight, head[name].float()), name
    del head["dense.bias"]
    save_file(head, copy / WRITER)
    with pytest.raises(UserError, match=r"writer.safetensors of .* by dense.bias: expected what"):
        FirstStageTraining(job(scenes, weights=str(copy), **CONSENT)).begin()
    (copy / WRITER).unlink()
    weights = load_file(copy / FILE)
    save_file({name: one for name, one in weights.items() if name != "itm_head.bias"}, copy / FILE)
    with pytest.raises(UserError, match=r"lack 1 tensors of the model, such as itm_head\.bias"):
        FirstStageTraining(job(scenes, weights=str(copy), **CONSENT)).begin()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip", "of type 'clip': expected a first stage of BLIP-2"),
        ("blip-itm", "of type 'blip': expected a first stage of BLIP-2"),
        ("blip2-opt", "of the family captioner: expected a first stage of BLIP-2"),
    ],
)
def test_other_models_are_no_first_stage(
    name: str, message: str, scenes: Path, tmp_path: Path
) -> None:
    weights = str(tiny.write(name, tmp_path / name))
    with pytest.raises(UserError, match=message):
        FirstStageTraining(job(scenes, weights=weights, **CONSENT))


def test_a_text_is_not_longer_than_what_the_weights_read(folder: Path, scenes: Path) -> None:
    FirstStageTraining(job(scenes, weights=str(folder), max_tokens=24))
    with pytest.raises(UserError, match="reads 24 tokens: say --max-tokens 24"):
        FirstStageTraining(job(scenes, weights=str(folder), max_tokens=25))


def test_what_starts_from_nothing_must_learn(folder: Path, scenes: Path) -> None:
    FirstStageTraining(job(scenes, weights=str(folder), freeze_vision=True))
    with pytest.raises(UserError, match=r"vision tower starts from nothing.* --no-freeze-vision"):
        FirstStageTraining(job(scenes, freeze_vision=True))


def test_a_tower_is_taken_from_another_blip2(scenes: Path, folder: Path, second: Path) -> None:
    """Of either stage; all else is the weights' own, and a language model stays behind."""
    kept, taken = load_file(folder / FILE), load_file(second / FILE)
    for weights in (str(folder), None):
        given = job(scenes, weights=weights, tower=str(second), freeze_vision=True)
        begun = FirstStageTraining(given).begin()
        found = begun.model.retrieval.state_dict()
        tower = {name for name in found if name.startswith("vision_model.")}
        assert all(torch.equal(found[name].half(), taken[name]) for name in tower)
        assert begun.licences.language_model is None
        if weights:
            assert all(torch.equal(found[name].half(), kept[name]) for name in found.keys() - tower)
    assert any(not torch.equal(kept[name], taken[name]) for name in tower)


def test_a_tower_that_does_not_fit_is_refused(
    scenes: Path, folder: Path, second: Path, tmp_path: Path
) -> None:
    other = job(scenes, tower=str(second), size=SIZE | {"patch_size": 16})
    with pytest.raises(UserError, match="built otherwise"):
        FirstStageTraining(other).begin()
    with pytest.raises(UserError, match="of the family yolo: expected a BLIP-2"):
        FirstStageTraining(job(scenes, tower="starter-yolo-detect"))
    darker = tmp_path / "darker"
    shutil.copytree(folder, darker)
    config = json.loads((darker / PIXELS).read_text())
    (darker / PIXELS).write_text(json.dumps(config | {"image_mean": [0.1, 0.1, 0.1]}))
    card = json.loads((darker / "card.json").read_text())
    card["sha256"][PIXELS] = sha256_of(darker / PIXELS)
    (darker / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="other pixels"):
        FirstStageTraining(job(scenes, weights=str(folder), tower=str(darker))).begin()


def test_what_is_no_first_stage_is_said(scenes: Path) -> None:
    with pytest.raises(UserError, match="of the family yolo: expected a first stage"):
        FirstStageTraining(job(scenes, weights="starter-yolo-detect"))
    with pytest.raises(UserError, match="has no captions of pictures"):
        FirstStageTraining(job(scenes / "images"))
    with pytest.raises(UserError, match="name others to validate on with --val"):
        FirstStageTraining(job(scenes / "captions.json"))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"patch_size": 7}, "must divide image_size"),
        ({"vision": {"width": 16, "heads": 3}}, "must divide width"),
    ],
)
def test_sizes_that_do_not_fit_are_said(size: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FirstStageJob.model_validate({"data": "d", "size": SIZE | size})


def test_a_tokenizer_has_the_frequent_words_and_every_letter() -> None:
    texts = ["a red circle", "a red star", "the Blue star!"]
    made = made_tokenizer(texts, 70)
    assert made.get_vocab() == made_tokenizer(texts, 70).get_vocab()
    told = made.convert_ids_to_tokens(made("A red tar?")["input_ids"])
    assert told == ["[CLS]", "a", "red", "t", "##a", "##r", "[UNK]", "[SEP]"]
    assert len(made_tokenizer(texts, 35)) == 35


@pytest.mark.parametrize("width", [16, 18])
def test_patches_tell_where_they_are(width: int) -> None:
    """Row, then column; of each the sines of all speeds, then the cosines."""
    kinds: Any = transformers
    config = kinds.Blip2VisionConfig(
        hidden_size=width, image_size=32, patch_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    tower = kinds.Blip2VisionModel(config)
    before = tower.embeddings.position_embedding.detach().clone()
    place(tower, 3.0)
    (own, *found) = tower.embeddings.position_embedding[0].detach()
    assert torch.equal(own, before[0, 0])
    speeds = [1e4 ** (-unit / 4) for unit in range(4)]
    for number, vector in enumerate(found):
        expected = [
            3 * wave(where * speed)
            for where in divmod(number, 4)
            for wave in (math.sin, math.cos)
            for speed in speeds
        ]
        torch.testing.assert_close(vector[:16], torch.tensor(expected))
        assert not vector[16:].any()


def test_a_training_begins_with_places(scenes: Path, folder: Path, second: Path) -> None:
    learns: dict[str, Any] = {"freeze_vision": False, "positions": 2.0}
    first = FirstStageTraining(job(scenes, weights=str(folder), **learns)).begin()
    again = SecondStageTraining(written_job(scenes, second, **learns)).begin()
    for tower in (first.model.retrieval.vision_model, again.model.vision_model):
        (_, *vectors) = tower.embeddings.position_embedding[0].detach()
        assert all(
            vector.norm() == pytest.approx(2 * (16 / 2) ** 0.5, rel=1e-5) for vector in vectors
        )
    with pytest.raises(ValueError, match="--no-freeze-vision"):
        written_job(scenes, second, positions=2.0)
