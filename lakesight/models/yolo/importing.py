"""From somebody's YOLO `.pt` in the public v8 layout to a model folder."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from lakesight.errors import UserError
from lakesight.models.base import Licences, ModelCard
from lakesight.models.yolo.folder import Contract, save, view_of
from lakesight.models.yolo.infer import HEAD, architecture_of
from lakesight.models.yolo.network import Network, check_shapes
from lakesight.models.yolo.pickled import (
    Checkpoint,
    Placeholder,
    Stored,
    module_tensors,
    state_of,
)
from lakesight.models.yolo_import import Answers, slug


def import_checkpoint(path: Path, folder: Path, answers: Answers) -> ModelCard:
    """Write the tensors of a checkpoint into a new model folder with its card, and return the card.

    Task, size and classes are told by the tensors; names, picture size and the shape of keypoints
    by the plain values beside them. Nothing in the file is run. Raises UserError where the file
    would have something run, is no YOLO in the v8 layout, or leaves its meaning open.
    """
    if answers.head is not None:
        raise UserError("--head is for ONNX files: a checkpoint's tensors tell what it is")
    with Checkpoint(path) as checkpoint:
        module, stored = _model(checkpoint.root, path)
        shapes = {name: tensor.shape for name, tensor in stored.items()}
        _check_amount(stored, path)
        contract = Contract(**architecture_of(shapes, _keypoint_shape(module)).model_dump())
        with torch.device("meta"):
            check_shapes(Network(contract), shapes, path.name)
        tensors = {name: checkpoint.read(tensor) for name, tensor in stored.items()}
        side = answers.size or _stated_side(checkpoint.root, module)
    return save(
        folder,
        tensors,
        contract,
        name=answers.name or slug(path.stem),
        labels=answers.labels or _names(module, contract.num_classes, path),
        view=view_of(contract, side),
        licences=Licences(weights=answers.licence, data=answers.data_licence),
        provenance=f"Imported from {path.name} by its user, who stated the licences.",
    )


def _model(root: Any, path: Path) -> tuple[Any, dict[str, Stored]]:
    """Return the pickled module and its tensors: the averaged one (`ema`) where there is one."""
    choices = [root.get("ema"), root.get("model"), root] if isinstance(root, dict) else [root]
    for choice in choices:
        if isinstance(choice, Placeholder):
            tensors = module_tensors(choice)
        elif isinstance(choice, dict):
            tensors = {name: value for name, value in choice.items() if isinstance(value, Stored)}
        else:
            continue
        if tensors:
            return choice, tensors
    raise UserError(f"{path} holds no model: expected a module or its tensors under `model`")


def _check_amount(stored: Mapping[str, Stored], path: Path) -> None:
    """Raise UserError where many tensors share one storage: they could fill the memory."""
    sizes = (prod(one.shape) * one.storage.dtype.itemsize for one in stored.values())
    if sum(sizes) > 2 * path.stat().st_size:
        raise UserError(f"{path} describes more tensors than it holds: refused")


def _keypoint_shape(module: Any) -> list[Any]:
    """Return what the head says of its keypoints; empty where it says nothing."""
    for name in HEAD.split("."):
        children = state_of(module).get("_modules")
        module = children.get(name) if isinstance(children, dict) else None
    stated = state_of(module).get("kpt_shape")
    return list(stated) if isinstance(stated, list | tuple) else []


def _names(module: Any, num_classes: int, path: Path) -> tuple[str, ...]:
    """Return the class names that the module carries."""
    names = state_of(module).get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if (
        not isinstance(names, dict)
        or set(names) != set(range(num_classes))
        or not all(isinstance(name, str) for name in names.values())
    ):
        raise UserError(
            f"{path.name} does not name its {num_classes} classes: give a file with one name a "
            "line, --labels"
        )
    return tuple(names[number] for number in range(num_classes))


def _stated_side(root: Any, module: Any) -> int:
    """Return the side of the pictures that the model was trained on, in pixels."""
    trained = root.get("train_args") if isinstance(root, dict) else None
    for arguments in (trained, state_of(module).get("args")):
        side = arguments.get("imgsz") if isinstance(arguments, dict) else None
        if type(side) is int and side > 0:
            return side
    raise UserError(
        "the file does not say its picture size: say with --size what it was trained on"
    )
