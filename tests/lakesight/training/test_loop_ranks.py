"""Two processes that train together do what one does alone: real gloo, a real, tiny network."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn

from lakesight.errors import UserError
from lakesight.models.yolo.network import Network
from lakesight.training.loop import CHECKPOINT, Trainer
from lakesight.training.yolo.recipe import YoloRecipe
from lakesight.training.yolo.settings import TrainSettings
from tests.lakesight.training.coloured import Coloured
from tests.yolo_folders import build_network

SIDE = 32
Row = dict[str, float]


def plain() -> Network:
    """Return a network without batch statistics, which no two batches share."""
    torch.manual_seed(0)
    network = build_network("classify", "n", 2, width=0.125, depth=0.33)
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network


def trained(folder: Path, batch_size: int) -> tuple[Row, dict[str, torch.Tensor]]:
    """Train for one update; return the row of the epoch and the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings(
        epochs=1,
        batch_size=batch_size,
        nominal_batch=4,
        image_size=SIDE,
        warmup_epochs=0,
        learning_rate=0.1,
        final_factor=1,
        max_gradient=1e6,
    )
    recipe = YoloRecipe(plain(), Coloured(SIDE), lambda _: {"fitness": 1.0}, settings)
    trainer = Trainer(recipe, settings, folder)
    trainer.resume()
    (row,) = trainer.fit().history
    return row, trainer.network.state_dict()


def rank(number: int, tmp: Path, batch_size: int) -> tuple[Row, dict[str, torch.Tensor], str]:
    """Be one of two processes; return also what is said where only one of them has a checkpoint."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp}/meet", rank=number, world_size=2
    )
    try:
        row, weights = trained(tmp / f"of-{number}", batch_size)  # it stays with the first
        with pytest.raises(UserError) as refused:
            trained(tmp / f"of-{number}", batch_size)
    finally:
        torch.distributed.destroy_process_group()
    return row, weights, str(refused.value)


def second(tmp: Path, batch_size: int) -> None:
    torch.save(rank(1, tmp, batch_size), tmp / "second.pt")


def test_two_processes_move_the_weights_as_one_does(tmp_path: Path) -> None:
    """One picture a step: two steps of both make an update, of which the second shares."""
    alone, expected = trained(tmp_path / "alone", 4)
    before = plain().state_dict()
    assert not torch.equal(before["model.0.conv.weight"], expected["model.0.conv.weight"])
    other = multiprocessing.get_context("spawn").Process(target=second, args=(tmp_path, 1))
    other.start()
    row, weights, said = rank(0, tmp_path, 1)
    other.join()
    assert row == pytest.approx(alone)
    others_row, others, others_said = torch.load(tmp_path / "second.pt", weights_only=True)
    assert others_row["loss/classes"] == row["loss/classes"], "it is the mean of both"
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value)
        assert torch.equal(weights[name], others[name])
    assert said == others_said
    assert "from epoch 0, another from 1: the output must be a folder that all machines" in said
    assert not (tmp_path / "of-1" / CHECKPOINT).exists()
