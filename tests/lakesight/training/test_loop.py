"""A real, tiny network on a few generated scenes: it learns, and a kill changes nothing."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lakesight import scenes
from lakesight.errors import UserError
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.network import Network, build_network
from lakesight.training.augment import Augmentation
from lakesight.training.loop import Callback, Trainer
from lakesight.training.sample import InstanceMap, Sample, xywhr_to_quads
from lakesight.training.settings import TrainSettings

SIDE = 96


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
    labels = scenes.LABELS

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        scene = scenes.generate(3, index, SIDE)
        if self.task == "classify":
            class_id = scenes.LABELS.index(scene.label)
            return Sample(scene.pixels, class_ids=np.array([class_id]))
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


def tiny(task: Task) -> Network:
    torch.manual_seed(0)
    num_classes = len(scenes.LABELS)
    return build_network(task, "n", num_classes, num_keypoints=8, width=0.125, depth=0.33)


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


def trainer(task: Task, folder: Path, epochs: int, stop_after: int | None = None) -> Trainer:
    """Return a trainer; with `stop_after` it is killed when so many epochs are done."""
    folder.mkdir(exist_ok=True)

    def evaluate(network: Network) -> dict[str, float]:
        return {"fitness": float(made.progress.epoch)}

    class Kill(Callback):
        def on_epoch(self, progress: object) -> None:
            if made.progress.epoch == stop_after:
                raise KeyboardInterrupt

    made = Trainer(tiny(task), Generated(task), evaluate, settings(epochs), folder, [Kill()])
    return made


def total(row: dict[str, float]) -> float:
    return sum(value for name, value in row.items() if name.startswith("loss/"))


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_every_task_learns(tmp_path: Path, task: Task) -> None:
    history = trainer(task, tmp_path / task, epochs=16).fit().history
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


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    made = trainer("detect", tmp_path / "nan", epochs=2)
    with torch.no_grad():
        next(made.network.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match="the loss is nan in epoch 1"):
        made.fit()


def test_frozen_layers_stay_as_they_are(tmp_path: Path) -> None:
    network, chosen = tiny("detect"), settings(1).model_copy(update={"freeze": 5})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Trainer(network, Generated("detect"), lambda _: {"fitness": 1.0}, chosen, tmp_path).fit()
    after = network.state_dict()
    frozen = [name for name in before if int(name.split(".")[1]) < 5]
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in before)
