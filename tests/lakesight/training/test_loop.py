"""A real, tiny network on a few generated scenes: it learns, and a kill changes nothing."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lakesight import scenes
from lakesight.errors import UserError
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.network import Network
from lakesight.training.loop import BEST, Callback, Progress, Trainer
from lakesight.training.yolo.augment import Augmentation
from lakesight.training.yolo.recipe import YoloRecipe
from lakesight.training.yolo.sample import InstanceMap, Sample, xywhr_to_quads
from lakesight.training.yolo.settings import TrainSettings
from tests.yolo_folders import build_network

SIDE = 96
PLAIN = Augmentation(mosaic=0)


def instances_of(scene: scenes.Scene) -> InstanceMap:
    instances = np.zeros((SIDE, SIDE), np.uint16)
    for number, one in enumerate(scene.objects, 1):
        instances[scene.mask(one)] = number
    return instances


@dataclass
class Generated:
    """Scenes with every kind of truth that a task may want."""

    task: Task
    count: int = 4
    labels: tuple[str, ...] = scenes.LABELS
    multi_label: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        scene = scenes.generate(3, index, SIDE)
        if self.task == "classify":
            found = scene.labels if self.multi_label else [scene.label]
            class_ids = [scenes.LABELS.index(one) for one in found]
            return Sample(scene.pixels, class_ids=np.array(class_ids))
        quads = xywhr_to_quads(
            np.array([list(one.rotated_box) for one in scene.objects], np.float32)
        )
        return Sample(
            image=scene.pixels,
            boxes_xyxy=np.array([one.box_xyxy for one in scene.objects], np.float32),
            class_ids=np.array([one.class_id for one in scene.objects]),
            instances=instances_of(scene) if self.task == "segment" else None,
            keypoints=np.array([one.keypoints for one in scene.objects], np.float32)
            if self.task == "pose"
            else None,
            quads=quads if self.task == "obb" else None,
        )


def tiny(task: Task, *, multi_label: bool = False) -> Network:
    torch.manual_seed(0)
    num_classes = len(scenes.LABELS)
    return build_network(
        task,
        "n",
        num_classes,
        num_keypoints=8,
        multi_label=multi_label,
        width=0.125,
        depth=0.33,
    )


def settings(epochs: int) -> TrainSettings:
    return TrainSettings(
        epochs=epochs,
        batch_size=4,
        nominal_batch=4,
        image_size=SIDE,
        optimizer="adamw",
        learning_rate=2e-3,
        warmup_epochs=1,
        close_mosaic=1,
        augmentation=Augmentation(copy_paste=0.5, mixup=0.1),
    )


def trainer(
    task: Task,
    folder: Path,
    epochs: int,
    stop_after: int | None = None,
    *,
    multi_label: bool = False,
) -> Trainer:
    """Return a trainer; with `stop_after` it is killed when so many epochs are done."""
    folder.mkdir(exist_ok=True)

    def evaluate(network: Network) -> dict[str, float]:
        return {"fitness": float(made.progress.epoch)}

    class Kill(Callback):
        def on_epoch(self, progress: object) -> None:
            if made.progress.epoch == stop_after:
                raise KeyboardInterrupt

    chosen = settings(epochs)
    data = Generated(task, multi_label=multi_label)
    recipe = YoloRecipe(tiny(task, multi_label=multi_label), data, evaluate, chosen)
    made = Trainer(recipe, chosen, folder, [Kill()])
    return made


def total(row: dict[str, float]) -> float:
    return sum(value for name, value in row.items() if name.startswith("loss/"))


@pytest.mark.parametrize(
    ("task", "multi_label"),
    [
        ("detect", False),
        ("segment", False),
        ("pose", False),
        ("obb", False),
        ("classify", False),
        ("classify", True),
    ],
)
def test_every_task_learns(tmp_path: Path, task: Task, multi_label: bool) -> None:
    made = trainer(task, tmp_path / task, epochs=16, multi_label=multi_label)
    history = made.fit().history
    assert len(history) == 16
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert total(history[-1]) < 0.9 * total(history[0])


def test_a_resumed_training_has_the_same_curve(tmp_path: Path) -> None:
    whole = trainer("detect", tmp_path / "whole", epochs=4).fit().history
    killed = trainer("detect", tmp_path / "killed", epochs=4, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        killed.fit()
    again = trainer("detect", tmp_path / "killed", epochs=4)
    assert again.resume()
    assert again.progress.epoch == 2
    assert again.fit().history == whole


def rates(folder: Path, epochs: int, num_pictures: int, batch_size: int) -> list[float]:
    """Return the learning rates of a training that goes on from the folder's checkpoint."""
    chosen = settings(4).model_copy(update={"batch_size": batch_size, "augmentation": PLAIN})

    class Kill(Callback):
        def on_epoch(self, progress: Progress) -> None:
            if progress.epoch == epochs:
                raise KeyboardInterrupt

    data = Generated("classify", num_pictures)
    recipe = YoloRecipe(tiny("classify"), data, lambda _: {"fitness": 1.0}, chosen)
    made = Trainer(recipe, chosen, folder, [Kill()])
    made.resume()
    with suppress(KeyboardInterrupt):
        made.fit()
    return [row["learning_rate"] for row in made.progress.history]


def test_more_pictures_and_other_batches_keep_the_schedule(tmp_path: Path) -> None:
    """As after an output has grown, or with another number of workers."""
    rates(tmp_path, 2, num_pictures=4, batch_size=4)
    found = rates(tmp_path, 4, num_pictures=6, batch_size=1)
    cosine = [(1 + math.cos(math.pi * done / 4)) / 2 for done in (2 + 5 / 6, 3 + 5 / 6)]
    assert found[2:] == pytest.approx([2e-3 * (0.01 + 0.99 * part) for part in cosine])


def test_other_classes_are_refused(tmp_path: Path) -> None:
    trainer("classify", tmp_path, epochs=1).fit()
    other = Generated("classify")
    other.labels = (*scenes.LABELS[1:], scenes.LABELS[0])
    chosen = settings(2)
    recipe = YoloRecipe(tiny("classify"), other, lambda _: {"fitness": 1.0}, chosen)
    made = Trainer(recipe, chosen, tmp_path)
    with pytest.raises(UserError, match=f"trained on the classes {scenes.LABELS[0]}, "):
        made.resume()


class Loud(Callback):
    """Fails, and fails again when it hears that something failed."""

    def on_epoch(self, progress: Progress) -> None:
        raise RuntimeError("the first")

    def on_failure(self, error: BaseException) -> None:
        raise RuntimeError("the second")


class Listener(Callback):
    heard: BaseException | None = None

    def on_failure(self, error: BaseException) -> None:
        self.heard = error


def test_every_callback_hears_of_the_failure_that_was_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    data, chosen = Generated("classify"), settings(1)
    callbacks = [Loud(), listener]
    recipe = YoloRecipe(tiny("classify"), data, lambda _: {"fitness": 1}, chosen)
    made = Trainer(recipe, chosen, tmp_path, callbacks)
    with pytest.raises(RuntimeError, match="the first"):
        made.fit()
    assert str(listener.heard) == "the first"
    assert "Loud failed after that" in caplog.text


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    made = trainer("detect", tmp_path / "nan", epochs=2)
    with torch.no_grad():
        next(made.network.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match="the loss is nan in epoch 1"):
        made.fit()


def test_nothing_left_to_learn_is_said() -> None:
    network, chosen = tiny("classify"), settings(1).model_copy(update={"freeze": 10})
    with pytest.raises(UserError, match="has 10 layers, and 10 are to be frozen: freeze 9 at most"):
        YoloRecipe(network, Generated("classify"), lambda _: {"fitness": 1.0}, chosen)


def test_frozen_layers_stay_as_they_are(tmp_path: Path) -> None:
    network, chosen = tiny("detect"), settings(1).model_copy(update={"freeze": 5})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recipe = YoloRecipe(network, Generated("detect"), lambda _: {"fitness": 1.0}, chosen)
    Trainer(recipe, chosen, tmp_path).fit()
    after = network.state_dict()
    frozen = [name for name in before if int(name.split(".")[1]) < 5]
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    best = torch.load(tmp_path / BEST, weights_only=True)["network"]
    assert best
    assert not set(best) & set(frozen), "what is frozen is not written again"
