"""What `--help` and the docs show of training BLIP-2 works as it stands: up to the first step."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from pydantic_settings import CliApp, get_subcommand

from lakesight.training.blip2.job import FirstStageJob, SecondStageJob
from lakesight.training.blip2.training import FirstStageTraining
from lakesight.training.families import open_training
from tests.documented import DOCS
from tests.lakesight.models import tiny
from workflows.__main__ import load, with_commands
from workflows.scenes import Scenes
from workflows.train import Command

SMALL = {"width": 16, "layers": 2, "heads": 2}
SIZE = {"image_size": 32, "patch_size": 8, "vision": SMALL, "qformer": SMALL, "num_queries": 3}
HUB = "hf:OWNER/BLIP2@COMMIT"


def commands(text: str) -> list[str]:
    lines = map(str.strip, text.replace("\\\n", " ").splitlines())
    return [" ".join(line.split()) for line in lines if line.startswith("lakesight train ")]


TEXTS = (FirstStageJob.__doc__, SecondStageJob.__doc__, (DOCS / "training-blip2.md").read_text())
EXAMPLES = list(dict.fromkeys(one for text in TEXTS for one in commands(text or "")))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the examples name, tiny; `flan-t5/` states the licence of the real one."""
    here = tmp_path_factory.mktemp("examples")
    scenes = str(here / "scenes")
    Scenes(output=scenes, num_images=8, num_val=4, seed=3, size="64", processes=1).run()
    for split, ending in (("train", ""), ("val", "_val")):
        captions = json.loads(
            (here / "scenes" / "annotations" / f"captions_{split}.json").read_text()
        )
        names = [image["file_name"] for image in captions["images"]]
        for image, name in zip(captions["images"], names, strict=True):
            image["file_name"] = f"{split}-{name}"
            shutil.copy(here / "scenes" / "images" / split / name, here / image["file_name"])
        asked = [{"image": f"{split}-{name}", "question": "red?", "answer": "no"} for name in names]
        (here / f"captions{ending}.json").write_text(json.dumps(captions))
        (here / f"vqa{ending}.json").write_text(json.dumps(asked))
    first = {"data": scenes, "freeze_vision": False, "size": SIZE, "epochs": 1, "batch_size": 4}
    training = FirstStageTraining(FirstStageJob.model_validate(first))
    training.fit(here / "finder")
    training.finish(here / "finder")
    shutil.copytree(here / "finder", here / "tower")
    tiny.write_t5(here / "flan-t5")
    tiny.write("blip2-itc", here / "hub-retrieve")
    tiny.write("blip2-t5", here / "hub-write")
    return here


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8
    assert any(HUB in one for one in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_trains(example: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("LAKESIGHT_ALLOW_LICENCES", "unknown")  # of the tiny hub's
    _, *words = shlex.split(example)
    task = words[words.index("--task") + 1]
    words = [f"hub-{task}" if word == HUB else word for word in words]
    settings = with_commands({"train": load("train", words)})
    command = get_subcommand(CliApp.run(settings, cli_args=words))
    assert isinstance(command, Command)
    training = open_training(command.job())
    recipe = training.recipe(training.begin())  # type: ignore[attr-defined]  # of both stages
    recipe.set_train()
    batches, _ = recipe.batches(0, 1)
    parts = recipe.losses(recipe.network, next(iter(batches)), 0).parts
    total = torch.stack(list(parts.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert 0 < total.item() < float("inf")
    gradients = [weight.grad for weight in recipe.network.parameters() if weight.requires_grad]
    assert any(one is not None and one.any() for one in gradients)


def test_no_prompt_is_null_on_the_command_line_too() -> None:
    words = ["train", "scenes/", "writer/", "--task", "write", "--descriptions.prompt", "null"]
    words += ["--captions.prompt", "in short:", "--descriptions.share", "1"]
    command = get_subcommand(CliApp.run(with_commands({"train": load("train", words)}), words))
    assert isinstance(command, Command)
    job = command.job()
    assert isinstance(job, SecondStageJob)
    assert job.prompts == {"captions": "in short:", "descriptions": None}
    assert job.unasked == "descriptions"
