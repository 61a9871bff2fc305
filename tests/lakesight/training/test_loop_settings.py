"""What single settings do to a training, each on a real network that is as small as can be."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lakesight.models.yolo.network import Network
from lakesight.training.loop import BEST, Callback, Progress, Trainer
from lakesight.training.optimizing import EMA_RAMP
from lakesight.training.yolo.augment import Augmentation
from lakesight.training.yolo.recipe import YoloRecipe
from lakesight.training.yolo.settings import TrainSettings
from tests.lakesight.training.coloured import Coloured
from tests.yolo_folders import build_network

SIDE = 64
Weights = dict[str, torch.Tensor]


def trainer(
    folder: Path, fitness: Sequence[float] = (1,), callback: Callback | None = None, **more: Any
) -> Trainer:
    """Return a training of one epoch for each fitness that it is to have, unless `more` says."""
    torch.manual_seed(0)
    network = build_network("classify", "n", 2, width=0.125, depth=0.33)
    given = {"epochs": len(fitness), "batch_size": 2, "nominal_batch": 2, "warmup_epochs": 0}
    flat = Augmentation(mosaic=0)
    settings = TrainSettings.model_validate(
        {"image_size": SIDE, "augmentation": flat, "max_gradient": 1e6} | given | more
    )

    def judge(_: Network) -> dict[str, float]:
        return {"fitness": fitness[made.progress.epoch - 1]}

    callbacks = [callback] if callback else []
    made = Trainer(
        YoloRecipe(network, Coloured(SIDE), judge, settings), settings, folder, callbacks
    )
    return made


def copied(values: Weights) -> Weights:
    return {name: value.clone() for name, value in values.items()}


def test_it_ends_early_when_it_gets_no_better(tmp_path: Path) -> None:
    done = trainer(tmp_path, (0.1, 0.4, 0.3, 0.4, 0.9), patience=2).fit()
    assert (done.epoch, done.best_epoch, done.best_fitness) == (4, 2, 0.4)


class Means(Callback):
    """Keeps the running mean of every epoch, and the weights."""

    def __init__(self) -> None:
        self.means: list[Weights] = []
        self.weights: list[Weights] = []

    def on_epoch(self, progress: Progress) -> None:
        self.means.append(copied(self.trainer.mean.values))
        self.weights.append(copied(self.trainer.network.state_dict()))

    trainer: Trainer


def test_the_best_epochs_running_mean_is_kept(tmp_path: Path) -> None:
    follower = Means()
    follower.trainer = trainer(tmp_path, (0.1, 0.5, 0.2), follower)
    first = copied(follower.trainer.network.state_dict())
    follower.trainer.fit()
    best = torch.load(tmp_path / BEST, weights_only=True)["network"]
    assert all(torch.equal(value, follower.means[1][name]) for name, value in best.items())
    name = "model.0.conv.weight"
    others = [follower.means[0], follower.means[2], *follower.weights, first]
    assert not any(torch.equal(best[name], other[name]) for other in others)


def test_the_running_mean_moves_by_its_decay(tmp_path: Path) -> None:
    made = trainer(tmp_path, batch_size=4, nominal_batch=4, ema_decay=0.9)
    first = copied(made.network.state_dict())
    made.fit()
    assert made.num_updates == 1
    decay = 0.9 * (1 - math.exp(-1 / EMA_RAMP))
    now, mean = made.network.state_dict(), made.mean.values
    for name, value in first.items():
        if value.is_floating_point():
            torch.testing.assert_close(mean[name], decay * value + (1 - decay) * now[name])


@pytest.mark.parametrize(
    ("batch_size", "nominal", "updates"), [(1, 4, 1), (1, 3, 2), (2, 2, 2), (2, 1, 2), (4, 64, 1)]
)
def test_gradients_are_added_up(
    tmp_path: Path, batch_size: int, nominal: int, updates: int
) -> None:
    made = trainer(tmp_path, batch_size=batch_size, nominal_batch=nominal)
    made.fit()
    assert made.num_updates == updates


class Sizes(Callback):
    """Listens to what the network sees, and what it computes with."""

    def __init__(self) -> None:
        self.sides: list[int] = []
        self.dtypes: set[torch.dtype] = set()

    def hear(self, module: torch.nn.Module, inputs: tuple[torch.Tensor], output: object) -> None:
        assert isinstance(output, torch.Tensor)
        if module.training:
            self.sides.append(inputs[0].shape[-1])
            self.dtypes.add(output.dtype)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("f32", torch.float32)])
def test_precision_is_that_of_the_forward_pass(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    heard = Sizes()
    made = trainer(tmp_path, (1, 1), precision=precision)
    made.network.get_submodule("model.0.conv").register_forward_hook(heard.hear)
    done = made.fit()
    assert heard.dtypes == {dtype}
    assert {value.dtype for value in made.network.parameters()} == {torch.float32}
    assert all(math.isfinite(row["loss/classes"]) for row in done.history)


def test_pictures_change_their_size_with_multi_scale(tmp_path: Path) -> None:
    heard = Sizes()
    made = trainer(tmp_path, (1,) * 4, multi_scale=0.5)
    made.network.get_submodule("model.0.conv").register_forward_hook(heard.hear)
    made.fit()
    assert set(heard.sides) == {32, 64, 96}
    again = Sizes()
    other = trainer(tmp_path, (1,) * 4, multi_scale=0.5)
    other.network.get_submodule("model.0.conv").register_forward_hook(again.hear)
    other.fit()
    assert again.sides == heard.sides, "the seed decides"


def test_readers_beside_give_the_same_pictures(tmp_path: Path) -> None:
    alone = trainer(tmp_path).fit().history
    assert trainer(tmp_path, num_readers=1).fit().history == alone
