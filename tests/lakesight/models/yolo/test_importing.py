"""Public-layout checkpoints: what is read of them; `test_pickled` has what is refused.

The stand-ins have the names of the public classes; they exist while a test writes a file, and are
gone when it is read.
"""

import io
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.yolo.architecture import Architecture, Task
from lakesight.models.yolo.importing import import_checkpoint
from lakesight.models.yolo.infer import architecture_of
from lakesight.models.yolo.network import Network
from lakesight.models.yolo_import import Answers
from tests.yolo_folders import build_network
from workflows.__main__ import main

from .test_network import TASKS, small

MODULE = "ultralytics.nn.tasks"
NAMES = {0: "cat", 1: "dog", 2: "bird"}


@contextmanager
def public_classes() -> Iterator[Any]:
    """Yield a module with stand-ins; the importable name lives as long as the context."""
    made = types.ModuleType(MODULE)
    for name in ("DetectionModel", "Head"):
        setattr(made, name, type(name, (nn.Module,), {"__module__": MODULE}))
    parents = {"ultralytics": types.ModuleType("ultralytics"), "ultralytics.nn": made}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in {**parents, MODULE: made}.items():
            patch.setitem(sys.modules, name, module)
        yield made


def write(path: Path, network: Network, names: Any = NAMES, **more: Any) -> Path:
    """Write a network as the public trainer would: a pickled tree of modules in fp16."""
    with public_classes() as classes:
        root = classes.DetectionModel()
        root.model = nn.Sequential(*network.model)
        head = classes.Head()
        head.__dict__.update(network.model[-1].__dict__)
        if network.architecture.task == "pose":
            head.kpt_shape = [
                network.architecture.num_keypoints,
                network.architecture.keypoint_dims,
            ]
        root.model[-1] = head
        root.names = names
        root.args = {"imgsz": 96}
        torch.save(
            {"epoch": -1, "best_fitness": np.float64(0.5), "model": root.half(), **more}, path
        )
    assert MODULE not in sys.modules
    return path


def halves(network: Network) -> dict[str, Tensor]:
    return {
        name: one.half() if one.is_floating_point() else one
        for name, one in network.state_dict().items()
    }


@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_becomes_a_folder_with_its_very_tensors(task: Task, tmp_path: Path) -> None:
    wanted = halves(small(task))
    path = write(tmp_path / "Best Ones.pt", small(task))
    card = import_checkpoint(path, tmp_path / "model", Answers(licence="MIT"))
    assert (card.name, card.family) == ("best-ones", "yolo")
    assert card.labels == ("cat", "dog", "bird")
    assert card.view is not None
    assert (card.view.width, card.view.fit == "crop") == (96, task == "classify")
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    model = catalog.build(catalog.spec(str(tmp_path / "model")))
    assert model.output.name == ("classes" if task == "classify" else "detections")


@pytest.mark.parametrize("size", ["n", "m"])
@pytest.mark.parametrize("task", TASKS)
def test_shapes_tell_task_size_and_classes(task: Task, size: Any) -> None:
    with torch.device("meta"):
        network = build_network(task, size, 7)
    shapes = {name: tuple(one.shape) for name, one in network.state_dict().items()}
    found = architecture_of(shapes, [17, 3])
    assert found == network.architecture


def test_the_averaged_model_is_preferred(tmp_path: Path) -> None:
    averaged, plain = small("detect"), small("detect")
    nn.init.constant_(averaged.model[0].conv.weight, 0.25)  # type: ignore[arg-type, union-attr]
    path = write(tmp_path / "last.pt", plain, ema=None)
    import_checkpoint(path, tmp_path / "plain", Answers(licence="MIT"))
    with public_classes() as classes:
        root = classes.DetectionModel()
        root.model, root.names, root.args = averaged.model, NAMES, {"imgsz": 96}
        torch.save({"model": None, "ema": root}, tmp_path / "ema.pt")
    import_checkpoint(tmp_path / "ema.pt", tmp_path / "averaged", Answers(licence="MIT"))
    first = "model.0.conv.weight"
    assert (load_file(tmp_path / "averaged" / "model.safetensors")[first] == 0.25).all()
    assert not (load_file(tmp_path / "plain" / "model.safetensors")[first] == 0.25).any()


def test_a_plain_state_dict_needs_names_and_size(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"model": small("detect").state_dict()}, path)
    for answers, missing in (
        (Answers(licence="MIT"), "--size"),
        (Answers(licence="MIT", size=96), "--labels"),
        (Answers(licence="MIT", size=100, labels=("a", "b", "c")), "128 is"),
        (Answers(licence="MIT", size=96, labels=("a", "b")), "3 classes, but 2 labels"),
        (Answers(licence="MIT", size=96, head="v8"), "--head is for ONNX"),
    ):
        with pytest.raises(UserError, match=missing):
            import_checkpoint(path, tmp_path / "model", answers)
        assert not (tmp_path / "model").exists()
    answers = Answers(licence="MIT", size=96, labels=("a", "b", "c"))
    assert import_checkpoint(path, tmp_path / "model", answers).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("values", "stated", "wanted"),
    [(51, [17, 3], (17, 3)), (51, [], (17, 3)), (34, [], (17, 2)), (24, [12, 2], (12, 2))],
)
def test_keypoints_are_told_by_the_file_or_by_division(
    values: int, stated: list[int], wanted: tuple[int, int]
) -> None:
    found = pose_of(values, stated)
    assert (found.num_keypoints, found.keypoint_dims) == wanted


@pytest.mark.parametrize("values", [24, 25])
def test_keypoints_that_could_be_either_are_refused(values: int) -> None:
    with pytest.raises(UserError, match=rf"{values} values a cell"):
        pose_of(values, [])


def pose_of(values: int, stated: list[int]) -> Architecture:
    shapes = {name: tuple(one.shape) for name, one in small("pose").state_dict().items()}
    return architecture_of({**shapes, "model.22.cv4.0.2.weight": (values, 16, 1, 1)}, stated)


def test_names_that_are_no_text_are_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt", small("detect"), names={0: "a", 1: ["deep"], 2: "c"})
    with pytest.raises(UserError, match="does not name its 3 classes"):
        import_checkpoint(path, tmp_path / "model", Answers(licence="MIT"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a zip", "no checkpoint that can be read"), (None, "no checkpoint that can be read")],
)
def test_other_files_are_told_apart(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        import_checkpoint(path, tmp_path / "model", Answers(licence="MIT"))


def test_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"model": {"model.23.dfl.conv.weight": torch.zeros(1, 16, 1, 1)}}, buffer)
    path = tmp_path / "other.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="head is layer 22, but its head is layer 23"):
        import_checkpoint(path, tmp_path / "model", Answers(licence="MIT"))


def test_a_copyleft_licence_is_refused_at_load_unless_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKESIGHT_ALLOW_LICENCES", raising=False)
    path = write(tmp_path / "yolov8n.pt", small("obb"))
    folder = tmp_path / "model"
    words = ["models", "import", str(path), str(folder), "--licence", "AGPL-3.0-only"]
    assert main(words) == 0
    assert "obb, 3 classes" in capsys.readouterr().out
    assert json.loads((folder / "card.json").read_text())["contract"]["task"] == "obb"
    with pytest.raises(UserError, match=r"AGPL-3\.0-only.*--allow-licence"):
        catalog.spec(str(folder))
    spec = catalog.spec(str(folder), licences_accepted=["AGPL-3.0-only"])
    assert catalog.build(spec).card.name == "yolov8n"
