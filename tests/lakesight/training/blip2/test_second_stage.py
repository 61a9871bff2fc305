"""BLIP-2's second stage behind a tiny first one: it learns to write, and what is written loads."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import lakesight
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.training.blip2.job import SecondStageJob
from lakesight.training.blip2.regions import UNKNOWN
from lakesight.training.blip2.second_beginning import UNKNOWN as UNKNOWN_WORD
from lakesight.training.blip2.second_beginning import made_tokenizer
from lakesight.training.blip2.settings import RegionPart, SecondStageSettings
from lakesight.training.blip2.training import SecondStageTraining
from lakesight.training.families import job_type
from lakesight.training.loop import BEST, CHECKPOINT, STATE, Callback, Progress
from lakesight.training.sampling import Key
from tests.lakesight.models import tiny
from tests.lakesight.training.blip2.second import ASKED, job, new, noise


def test_what_is_written_captions_and_answers(second: Path) -> None:
    assert job_type("write") is SecondStageJob
    card = catalog.resolve(str(second))
    assert (card.name, card.kind, card.licences.language_model) == (
        "writer",
        "caption",
        "LicenseRef-own",
    )
    assert {"captions/cider_d", "answers/accuracy"} <= card.metrics.keys()
    (caption,) = lakesight.load(str(second)).predict([noise()]).column.to_pylist()
    assert isinstance(caption, str)
    questions, candidates = ("how many red circles are there?",), ("0", "1", "2")
    model = lakesight.load(str(second), kind="answer", questions=questions, candidates=candidates)
    (answers,) = model.predict([noise()]).column
    assert answers.as_py()[0]["answer"] in candidates


def test_a_resumed_training_has_the_same_curve(scenes: Path, first: Path, tmp_path: Path) -> None:
    class Kill(Callback):
        def on_epoch(self, progress: Progress) -> None:
            raise KeyboardInterrupt

    training = SecondStageTraining(new(scenes, first))
    whole = training.fit(tmp_path / "whole").history
    with pytest.raises(KeyboardInterrupt):
        training.fit(tmp_path / "killed", [Kill()])
    assert training.fit(tmp_path / "killed").history == whole


def test_what_is_frozen_neither_learns_nor_is_written_again(
    scenes: Path, second: Path, tmp_path: Path
) -> None:
    training = SecondStageTraining(job(scenes, second, epochs=1, half=False))
    before = training.begin().model.state_dict()
    training.fit(tmp_path)
    training.finish(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    moved = {name for name, one in written.items() if not torch.equal(one, before[name])}
    assert {name.split(".")[0] for name in written} > {"vision_model", "language_model"}
    assert {name.split(".")[0] for name in moved} == {
        "query_tokens",
        "qformer",
        "language_projection",
    }
    for name in (BEST, CHECKPOINT):
        kept = torch.load(tmp_path / STATE / name, weights_only=True)["network"]
        parts = {one.split(".")[2] for one in kept}
        assert parts == {"query_tokens", "qformer", "language_projection"}


def test_gradients_reach_the_q_former_only(scenes: Path, second: Path) -> None:
    training = SecondStageTraining(job(scenes, second))
    recipe = training.recipe(training.begin())
    recipe.set_train()
    batches, _ = recipe.batches(0, 1)
    parts = recipe.losses(recipe.network, next(iter(batches)), 0).parts
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    reached = {
        name.split(".")[2]
        for name, weight in recipe.network.named_parameters()
        if weight.grad is not None and weight.grad.abs().sum() > 0
    }
    assert reached == {"query_tokens", "qformer", "language_projection"}
    assert not recipe.writer.language.model.language_model.training


@pytest.mark.parametrize(("weights", "num_texts"), [((1.0, 1.0), 1), ((2.0, 0.5), 1), ((1, 2), 5)])
def test_losses_are_those_of_one_text_at_a_time(
    scenes: Path, first: Path, weights: tuple[float, float], num_texts: int
) -> None:
    parts = dict(zip(("captions", "questions"), weights, strict=True))
    given: dict[str, Any] = {name: {"weight": weight} for name, weight in parts.items()}
    given["texts_per_picture"] = num_texts
    training = SecondStageTraining(new(scenes, first, batch_size=8, **given))
    recipe = training.recipe(training.begin())
    recipe.network.eval()
    batches, _ = recipe.batches(0, 1)
    batch = next(iter(batches))
    texts = [(one, text) for one in batch for text in one.texts]
    assert {text.part for _, text in texts} == set(parts)
    found = recipe.losses(recipe.network, batch, 0).parts
    expected, count = dict.fromkeys(parts, 0.0), 0
    assert len(texts) == 8 if num_texts == 1 else len(texts) > 24
    assert all(len(set(one.texts)) == len(one.texts) for one in batch)
    for one, text in texts:
        ids, mask = recipe.writer.padded([recipe.writer.prompt(text.prompt, recipe.room)])
        answer = torch.tensor([recipe.writer.answer(text.answer)[:20]])
        seen = recipe.stage.seen(recipe.inputs.batch([one.picture]))
        prefix = recipe.writer.language.prefix(seen)
        losses = recipe.writer.language.token_losses(
            prefix, torch.zeros(1, dtype=torch.long), ids, mask, answer
        )
        expected[text.part] += parts[text.part] * losses.sum().item()
        count += answer.numel()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value / count, rel=1e-4)


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_dropout_is_what_one_asks_for(scenes: Path, first: Path, dropout: float | None) -> None:
    """The weights' own leaves some of everything out, so that no loss is what it was."""
    training = SecondStageTraining(new(scenes, first, batch_size=8, dropout=dropout))
    recipe = training.recipe(training.begin())
    recipe.set_train()
    batch = next(iter(recipe.batches(0, 1)[0]))
    losses = [recipe.losses(recipe.network, batch, step).parts for step in (0, 1)]
    for name in ("captions", "questions"):
        same = losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-5)
        assert same == (dropout == 0.0)


def test_kept_features_give_the_same_losses(scenes: Path, first: Path) -> None:
    found = []
    for keep in ("nothing", "features"):
        training = SecondStageTraining(new(scenes, first, keep=keep))
        recipe = training.recipe(training.begin())
        recipe.network.eval()
        batches, _ = recipe.batches(0, 1)
        found.append(recipe.losses(recipe.network, next(iter(batches)), 0).parts)
    assert found[0].keys() == found[1].keys()
    for name, loss in found[0].items():
        assert found[1][name].item() == pytest.approx(loss.item(), rel=1e-3)


def test_pictures_are_looked_at_for_a_training_alone(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    """What ends it needs the weights, and those to judge it by."""
    copied, folder = tmp_path / "scenes", tmp_path / "writer"
    shutil.copytree(scenes, copied)
    training = SecondStageTraining(new(copied, first, keep="features", epochs=1))
    training.fit(folder)
    shutil.rmtree(copied / "images" / "train")
    assert training.finish(folder)[0].name == "writer"


def test_a_tower_learns_what_lies_where_beside_the_texts(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    """Both kinds of text come with the regions of their picture; the words' head is not written."""
    given: dict[str, Any] = {"freeze_vision": False, "learning_rate": 1e-2, "epochs": 30}
    given |= {"texts_per_picture": 4, "optimizer": "muon", "judged": 2}
    training = SecondStageTraining(new(scenes, first, regions={"weight": 1.0}, **given))
    batch = training.recipe(training.begin()).dataset[Key(0, 0)]
    assert (batch.regions == 1).any()
    history = training.fit(tmp_path / "writer").history
    assert {"loss/captions", "loss/questions", "loss/regions", "regions_f1"} <= set(history[0])
    assert history[-1]["loss/regions"] < history[0]["loss/regions"] / 2
    card, _ = training.finish(tmp_path / "writer")
    (caption,) = lakesight.load(str(tmp_path / "writer")).predict([noise()]).column.to_pylist()
    assert isinstance(caption, str)
    assert not any("labeller" in name for name in load_file(tmp_path / "writer/model.safetensors"))
    assert card.metrics.keys() >= {"captions/cider_d", "answers/accuracy"}


def test_mirrored_pictures_have_mirrored_regions(scenes: Path, first: Path) -> None:
    given: dict[str, Any] = {"freeze_vision": False, "regions": {"weight": 1.0}}
    mirrored = {"mirrors": {"horizontal": 1.0}}
    plain, turned = (
        training.recipe(training.begin()).dataset[Key(0, 1)]
        for more in ({}, mirrored)
        for training in (SecondStageTraining(new(scenes, first, **given, **more)),)
    )
    assert (plain.picture[:, ::-1] == turned.picture).all()
    before, after = (one.regions.reshape(4, 4, -1) for one in (plain, turned))
    assert (before[:, ::-1] == after).all()
    assert not (before == after).all()


@pytest.mark.parametrize("num_texts", [1, 3])
def test_kinds_of_text_come_by_their_shares(scenes: Path, first: Path, num_texts: int) -> None:
    parts = {"captions": {"share": 0.3}, "questions": {"share": 0.7}}
    given: dict[str, Any] = {"keep": "views", "texts_per_picture": num_texts}
    training = SecondStageTraining(new(scenes, first, **given, **parts))
    dataset = training.recipe(training.begin()).dataset
    looks = [dataset[Key(epoch, number)] for epoch in range(250) for number in range(8)]
    drawn = [text.part for look in looks for text in look.texts]
    assert len(drawn) == num_texts * len(looks)
    assert drawn.count("captions") / len(drawn) == pytest.approx(0.3, abs=0.05)
    both = sum(len({text.part for text in look.texts}) == 2 for look in looks)
    assert (both > len(looks) / 3) == (num_texts > 1)


FOUR: dict[str, Any] = {
    "captions": {"prompt": "in short:"},
    "descriptions": {"share": 1.0, "prompt": None},
    "layouts": {"share": 1.0},
    "texts_per_picture": 40,
}
"""Every kind of text but relations, of which descriptions are what is written unasked."""


def test_every_kind_of_text_is_learned_of_a_picture(scenes: Path, first: Path) -> None:
    training = SecondStageTraining(new(scenes, first, **FOUR))
    begun = training.begin()
    recipe = training.recipe(begun)
    rows = pq.read_table(scenes / "tables" / "train.parquet").to_pylist()
    for number, row in enumerate(rows):
        texts = recipe.dataset[Key(0, number)].texts
        said = {name: [one for one in texts if one.part == name] for name in training.train}
        assert all(said.values())
        assert {one.prompt for one in said["captions"]} == {"in short:"}
        assert {one.answer for one in said["captions"]} <= set(row["captions"])
        assert {(one.prompt, one.answer) for one in said["descriptions"]} == {
            (None, row["description"])
        }
        assert len({(one.prompt, one.answer) for one in texts}) == len(texts)
        (written,) = said["layouts"]
        assert written.prompt == "what is where:"
        places = sorted(
            (
                int((top + bottom) / 2 / row["height"] * 10),
                int((left + right) / 2 / row["width"] * 10),
            )
            for left, top, right, bottom in (one["box"] for one in row["objects"])
        )
        said_places = [one.split()[-2:] for one in written.answer.split(", ")]
        assert [(int(down), int(across)) for across, down in said_places] == places
        phrases = {f"{one['texture']} {one['colour']} {one['label']}" for one in row["objects"]}
        assert {one.rsplit(" ", 2)[0] for one in written.answer.split(", ")} == phrases
        assert UNKNOWN_WORD not in begun.tokenizer.tokenize(written.answer)
    found = recipe.losses(recipe.network, next(iter(recipe.batches(0, 1)[0])), 0).parts
    assert set(found) == set(training.train)
    assert all(loss > 0 for loss in found.values())
    judged = recipe.evaluate()
    assert {f"{name}/cider_d" for name in training.train if name != "questions"} <= judged.keys()


def test_a_kind_without_more_texts_leaves_its_place_to_the_others(
    scenes: Path, first: Path
) -> None:
    """There is one description and one layout of a picture, and seven questions."""
    few = FOUR | {"captions": {"share": 0}, "questions": {"share": 1e-6}, "texts_per_picture": 2}
    training = SecondStageTraining(new(scenes, first, **few))
    dataset = training.recipe(training.begin()).dataset
    for number in range(8):
        texts = dataset[Key(0, number)].texts
        assert {text.part for text in texts} == {"descriptions", "layouts"}
    many = FOUR | {"texts_per_picture": 1000}
    training = SecondStageTraining(new(scenes, first, **many))
    dataset = training.recipe(training.begin()).dataset
    for number, one in enumerate(training.train["captions"]):
        texts = dataset[Key(0, number)].texts
        assert len(texts) == len(one.captions) + len(one.questions) + 2


def test_relations_tell_where_one_region_lies_from_another(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"captions": {"share": 0}, "relations": {"share": 1}, "epochs": 1}
    training = SecondStageTraining(new(scenes, first, texts_per_picture=20, **given))
    begun = training.begin()
    recipe = training.recipe(begun)
    rows = {
        row["file_name"]: row for row in pq.read_table(scenes / "tables/train.parquet").to_pylist()
    }
    seen = set()
    for number, one in enumerate(training.train["relations"]):
        objects = rows[f"images/train/{one.told.path.name}"]["objects"]
        phrases = [f"{each['texture']} {each['colour']} {each['label']}" for each in objects]
        for text in recipe.dataset[Key(0, number)].texts:
            asked = re.fullmatch(
                r"Question: where is the (.*) from the (.*)\? Short answer:", text.prompt or ""
            )
            assert bool(asked) == (text.part == "relations")
            if asked is None:
                continue
            assert phrases.count(asked[1]) == phrases.count(asked[2]) == 1
            boxes = [objects[phrases.index(phrase)]["box"] for phrase in asked.groups()]
            across, down = (
                (boxes[0][axis] + boxes[0][axis + 2] - boxes[1][axis] - boxes[1][axis + 2]) / 2 / 64
                for axis in (0, 1)
            )
            said = set(text.answer.split(" and "))
            assert ("left" in said, "right" in said) == (across <= -0.05, across >= 0.05)
            assert ("above" in said, "below" in said) == (down <= -0.05, down >= 0.05)
            assert ("here" in said) == (max(abs(across), abs(down)) < 0.05)
            ids = begun.tokenizer(f"{text.prompt} {text.answer}")["input_ids"]
            assert begun.tokenizer.unk_token_id not in ids
            seen |= said
    assert seen >= {"left", "right", "above", "below"}
    training.fit(tmp_path)
    card, result = training.finish(tmp_path)
    assert set(result.results) == {"answers"}
    assert 0 <= recipe.evaluate()["relations/accuracy"] <= 1
    assert card.contract["prompts"] == {}


def test_pictures_of_one_region_have_no_relations(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    picture = str(scenes / "images" / "val" / "000000.jpg")
    region = {"phrase": "a dog", "x": 0, "y": 0, "width": 9, "height": 9}
    file = tmp_path / "list.json"
    file.write_text(json.dumps([{"image": picture, "caption": "a dog", "regions": [region] * 2}]))
    given: dict[str, Any] = {"relations": {"share": 1}, "questions": {"share": 0}}
    with pytest.raises(UserError, match="two regions of phrases of their own"):
        SecondStageTraining(new(file, first, val=str(file), **given))


def test_layouts_bring_their_own_marks(scenes: Path, first: Path) -> None:
    """To a tokenizer that sees no other text with them."""
    given: dict[str, Any] = {"captions": {"share": 0}, "layouts": {"share": 1}}
    training = SecondStageTraining(new(scenes, first, **given))
    begun = training.begin()
    recipe = training.recipe(begun)
    drawn = [text for number in range(8) for text in recipe.dataset[Key(0, number)].texts]
    layouts = [text.answer for text in drawn if text.part == "layouts"]
    assert layouts
    for text in layouts:
        ids = begun.tokenizer(text)["input_ids"]
        assert begun.tokenizer.decode(ids, skip_special_tokens=True).replace(" ,", ",") == text


def test_what_has_no_prompt_is_written_unasked(scenes: Path, first: Path, tmp_path: Path) -> None:
    """And judged by its own texts, as `lakesight evaluate` does."""
    training = SecondStageTraining(new(scenes, first, epochs=1, **FOUR))
    training.fit(tmp_path)
    card, result = training.finish(tmp_path)
    assert card.contract["options"]["caption"]["prompt"] is None
    assert card.contract["prompts"] == {
        "captions": "in short:",
        "descriptions": None,
        "layouts": "what is where:",
    }
    assert set(result.results) == {"captions", "answers"}
    (trial, _) = training.trials()
    rows = pq.read_table(scenes / "tables" / "val.parquet").to_pylist()
    assert [one.captions for one in trial.texts.pictures] == [(row["description"],) for row in rows]


def test_layouts_leave_what_the_weights_write_unasked(
    scenes: Path, second: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"captions": {"share": 0}, "layouts": {"share": 1}, "epochs": 1}
    training = SecondStageTraining(job(scenes, second, **given))
    assert training.job.unasked is None
    training.fit(tmp_path)
    card, result = training.finish(tmp_path)
    assert card.contract["options"]["caption"]["prompt"] == "a picture of"
    assert set(result.results) == {"answers"}


def test_layouts_of_kept_features_are_of_the_pictures_own_size(scenes: Path, first: Path) -> None:
    found = []
    for keep in ("views", "features"):
        given = FOUR | {"keep": keep, "captions": {"share": 0}, "questions": {"share": 0}}
        recipe = (training := SecondStageTraining(new(scenes, first, **given))).recipe(
            training.begin()
        )
        recipe.batches(0, 1)
        found.append([recipe.dataset[Key(0, number)].texts for number in range(8)])
    assert found[0] == found[1]


def test_pictures_without_regions_have_no_layout(scenes: Path, first: Path, tmp_path: Path) -> None:
    paths = sorted((scenes / "images" / "train").iterdir())[:3]
    region = {"phrase": "a big dog", "x": 0, "y": 32, "width": 64, "height": 32}
    entries = [
        {"image": str(paths[0]), "caption": "a dog", "regions": [region]},
        {"image": str(paths[1]), "caption": "nothing", "regions": []},
        {"image": str(paths[2]), "caption": "whatever"},
    ]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    file = str(tmp_path / "list.json")
    given: dict[str, Any] = {"val": file, "layouts": {"share": 1}, "questions": {"share": 0}}
    recipe = (training := SecondStageTraining(new(Path(file), first, **given))).recipe(
        training.begin()
    )
    assert "1 pictures with layouts" in training.told()
    looks = [recipe.dataset[Key(epoch, number)] for epoch in range(20) for number in range(3)]
    said = {(text.part, text.answer) for look in looks for text in look.texts}
    assert said == {
        ("layouts", "a big dog 5 7"),
        *(("captions", caption) for caption in ("a dog", "nothing", "whatever")),
    }
    (tmp_path / "list.json").write_text(json.dumps(entries[1:]))
    with pytest.raises(UserError, match="no pictures with regions"):
        SecondStageTraining(new(Path(file), first, **given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"descriptions": {"share": 1, "prompt": None}}, "prompts of their own"),
        ({"layouts": {"share": 1}, "mirrors": {"vertical": 0.5}}, "left and right"),
        ({"captions": {"share": 0}, "questions": {"share": 0}}, "nothing is learned"),
        (
            {"captions": {"share": 0}, "questions": {"share": 0}, "layouts": {"share": 1}},
            "layouts and relations alone",
        ),
        ({"layouts": {"share": 1, "prompt": None}}, "valid string"),
    ],
)
def test_kinds_of_text_that_cannot_be_learned_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SecondStageSettings.model_validate(given)


def test_captions_are_no_descriptions_too(scenes: Path, first: Path, tmp_path: Path) -> None:
    described: dict[str, Any] = {"descriptions": {"share": 1}, "questions": {"share": 0}}
    with pytest.raises(UserError, match="--caption-column"):
        SecondStageTraining(new(scenes, first, caption_column="both", **described))
    again: dict[str, Any] = {"share": 1, "data": f"{scenes}/", "val": f"{scenes}/../{scenes.name}"}
    with pytest.raises(UserError, match="--caption-column"):
        SecondStageTraining(
            new(scenes, first, caption_column="both", **described | {"descriptions": again})
        )
    picture = str(scenes / "images" / "val" / "000000.jpg")
    file = tmp_path / "list.json"
    file.write_text(json.dumps([{"image": picture, "caption": "a dog"}]))
    with pytest.raises(UserError, match=r"--descriptions\.data"):
        SecondStageTraining(new(file, first, val=str(file), **described))


def test_texts_without_regions_go_beside_others(scenes: Path, first: Path, tmp_path: Path) -> None:
    """Of captions alone the parts are described: of pictures with questions nothing is learned."""
    shutil.copytree(scenes / "images" / "train", tmp_path / "others")
    asked = [
        {"image": str(path), "question": "how many?", "answer": "2"}
        for path in sorted((tmp_path / "others").iterdir())
    ]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    part = {"data": str(tmp_path / "asked.json"), "val": str(tmp_path / "asked.json")}
    given: dict[str, Any] = {"freeze_vision": False, "regions": {"weight": 1.0}}
    training = SecondStageTraining(new(scenes, first, questions=part, batch_size=8, **given))
    recipe = training.recipe(training.begin())
    examples = [recipe.dataset[Key(0, number)] for number in range(8)]
    parts = [{text.part for text in one.texts} for one in examples]
    assert {tuple(one) for one in parts} == {("captions",), ("questions",)}
    for one, names in zip(examples, parts, strict=True):
        assert (one.regions == UNKNOWN).all() == (names == {"questions"})
    assert recipe.losses(recipe.network, examples, 0).parts["regions"] > 0
    for labels in recipe.stage.parameters():  # whatever is said of all patches is right of some
        labels.data.zero_()
    assert recipe.stage.labeller is not None
    recipe.stage.labeller.bias.data.fill_(1.0)
    assert recipe.evaluate()["regions_f1"] > 0
    with pytest.raises(UserError, match="no regions are described"):
        SecondStageTraining(new(scenes, first, questions=part, captions={"share": 0}, **given))


def test_regions_are_nothing_to_a_frozen_tower() -> None:
    with pytest.raises(ValueError, match="--no-freeze-vision"):
        SecondStageSettings(regions=RegionPart(weight=1.0))


def test_it_goes_on_from_a_second_stage(second: Path, scenes: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"learning_rate": 1e-12, "half": False, "epochs": 1}
    given |= {"captions": ASKED["captions"], "questions": {"share": 0.0}}
    training = SecondStageTraining(job(scenes, second, **given))
    training.fit(tmp_path)
    card, result = training.finish(tmp_path)
    assert "from writer" in card.provenance
    assert set(result.results) == {"captions"}
    before, after = (
        lakesight.load(str(one)).predict([noise()]).column.to_pylist() for one in (second, tmp_path)
    )
    assert before == after
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_text() == (second / name).read_text()


@pytest.mark.parametrize("write", [tiny.write_opt, tiny.write_t5])
def test_a_language_model_that_is_there_is_taken(
    write: Any, scenes: Path, first: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "language_model": str(write(tmp_path / "language")),
        "language_licence": "MIT",
    }
    given |= {"questions": {"share": 0.0}}  # one token a letter: too long
    training = SecondStageTraining(job(scenes, first, epochs=1, max_tokens=8, **given))
    training.fit(tmp_path / "out")
    card, _ = training.finish(tmp_path / "out")
    assert card.licences.language_model == "MIT"
    assert "and language" in card.provenance
    assert lakesight.load(str(tmp_path / "out")).predict([noise()]).column.to_pylist()


def test_t5_learns_to_answer_by_the_loss_of_transformers(
    scenes: Path, first: Path, tmp_path: Path
) -> None:
    """Its encoder reads the picture and the question, its decoder writes the answer."""
    given: dict[str, Any] = {"language_model": str(tiny.write_t5(tmp_path / "language"))}
    given |= {"language_licence": "MIT", "captions": {"share": 0.0}, "freeze_language": False}
    given["questions"] = {"template": "{}"}  # a token a letter: more would be too long
    training = SecondStageTraining(job(scenes, first, batch_size=3, **given))
    begun = training.begin()
    recipe = training.recipe(begun)
    recipe.network.eval()
    batch = next(iter(recipe.batches(0, 1)[0]))
    found = recipe.losses(recipe.network, batch, 0).parts["questions"]
    texts = [text for one in batch for text in one.texts]
    image = begun.tokenizer.convert_ids_to_tokens(begun.model.config.image_token_index)
    asked = begun.tokenizer(
        [image * 3 + text.prompt for text in texts], padding=True, return_tensors="pt"
    )
    answers = begun.tokenizer([text.answer for text in texts], padding=True, return_tensors="pt")
    labels = answers["input_ids"].masked_fill(answers["attention_mask"] == 0, -100)
    out = begun.model(
        pixel_values=recipe.inputs.batch([one.picture for one in batch]), **asked, labels=labels
    )
    assert out.loss.item() == pytest.approx(found.item(), rel=1e-4)
    found.backward()  # type: ignore[no-untyped-call]
    learning = begun.model.language_model.decoder.block[0].layer[1].EncDecAttention.q.weight
    assert learning.grad.abs().sum() > 0


@pytest.mark.parametrize("write", [tiny.write_opt, tiny.write_t5])
def test_lora_learns_beside_a_language_model_and_is_merged_into_it(
    write: Any, scenes: Path, first: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "language_model": str(write(tmp_path / "language")),
        "language_licence": "MIT",
        "questions": {"share": 0.0},
        "lora": 2,
        "half": False,
    }
    training = SecondStageTraining(job(scenes, first, epochs=1, max_tokens=8, **given))
    training.fit(tmp_path / "out", training.followers())
    best = torch.load(tmp_path / "out" / STATE / BEST, weights_only=True)["network"]
    learned = {name for name in best if "language_model" in name}
    assert learned
    assert all("lora_" in name for name in learned)
    training.finish(tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    before = training.begin().model.state_dict()
    assert not [name for name in weights if "lora" in name]
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    touched = {name.rpartition(".weight")[0][-6:] for name in moved if "language_model" in name}
    assert touched in ({"q_proj", "v_proj"}, {"tion.q", "tion.v"})
    for name in (one for one in learned if ".lora_A." in one):  # W + (alpha / r) B A
        added = 2 * best[name.replace(".lora_A.", ".lora_B.")] @ best[name]
        own = name[name.index("language_model") :].replace(".lora_A.default", "")
        torch.testing.assert_close(weights[own], before[own] + added)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_question_beyond_the_context_is_said_before_anything_is_learned(
    part: str, scenes: Path, first: Path, tmp_path: Path
) -> None:
    picture = str(scenes / "images" / "val" / "000000.jpg")
    files: dict[str, Path] = {}
    for name in ("train", "val"):
        question = "why? " * 90 if name == part else "why?"
        files[name] = tmp_path / f"{name}.json"
        content = [{"image": picture, "question": question, "answer": "so"}]
        files[name].write_text(json.dumps(content))
    data: dict[str, Any] = {
        "data": str(files["train"]),
        "val": str(files["val"]),
        "captions": {"share": 0},
    }
    training = SecondStageTraining(new(scenes, first, **data))
    with pytest.raises(UserError, match=r"the prompt 'Question: why\? why\?.* takes \d+ tokens"):
        training.recipe(training.begin())


def test_a_tokenizer_comes_back_as_it_was(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = made_tokenizer(["a red circle, a blue star", "two stars"], 100)
    made.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (made, again):
        ids = tokenizer("a red stars")["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == ["</s>", "a", "red", "stars"]
        assert tokenizer.decode(tokenizer("two blues")["input_ids"], skip_special_tokens=True) == (
            "two blues"
        )
