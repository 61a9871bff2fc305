"""Public-layout checkpoints: what is read, and that nothing in them is run.

The stand-ins have the names of the public classes; they exist while a test writes a file, and are
gone when it is read.
"""

import io
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
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
from lakesight.models.yolo.blocks import Conv
from lakesight.models.yolo.importing import import_checkpoint
from lakesight.models.yolo.infer import architecture_of
from lakesight.models.yolo.network import Network, build_network
from lakesight.models.yolo.pickled import Checkpoint
from lakesight.models.yolo_import import Answers
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


class Attack:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attacks(canary: Path) -> dict[str, Any]:
    import os
    import subprocess

    touch = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Attack(os.system, f"touch {canary}"),
        "eval": Attack(eval, touch),
        "exec": Attack(exec, touch),
        "subprocess": Attack(subprocess.call, ["touch", str(canary)]),
        "getattr": Attack(getattr, Path, "touch"),
        "torch.load": Attack(torch.load, str(canary)),
        "open": Attack(open, str(canary), "w"),
    }


@pytest.mark.parametrize("name", list(attacks(Path())))
@pytest.mark.parametrize("place", ["top", "attribute", "tensors"])
def test_a_call_is_refused_and_not_run(name: str, place: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "bad.pt"
    attack = attacks(canary)[name]
    module: Any = nn.Sequential(Conv(3, 8, 3, 2))
    if place == "attribute":
        module[0].act.note = {"deep": [attack]}
    elif place == "tensors":
        module[0]._buffers["extra"] = attack
    torch.save({"model": module, "x": attack if place == "top" else None}, path)
    with pytest.raises(UserError, match=r"asks to call .* refused, and nothing of it was run"):
        import_checkpoint(path, tmp_path / "model", Answers(licence="MIT"))
    assert not canary.exists()
    assert not (tmp_path / "model").exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own unpickler runs them: the canary dies."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(attacks(canary)["os.system"]))
    assert canary.exists()


def raw_checkpoint(path: Path, data: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3\n")
    return path


SYSTEM = b"cposix\nsystem\n"
TRUE = b"X\x04\x00\x00\x00true"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02" + SYSTEM + TRUE + b"\x85R.", "asks to call posix.system"),
        (b"(S'true'\niposix\nsystem\n.", "uses INST"),
        (b"(" + SYSTEM + TRUE + b"o.", "uses OBJ"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        # what only holds state cannot be made callable by giving it one
        (b"\x80\x02" + SYSTEM + b")\x81}b" + TRUE + b"\x85R.", "cannot be read"),
        # nor can our own functions be changed
        (
            b"\x80\x02ctorch._utils\n_rebuild_parameter\n}(X\x01\x00\x00\x00aK\x01ub.",
            "cannot be read",
        ),
        (b"\x80\x02cposix\nsystem\n}(X\x01\x00\x00\x00aK\x01ub.", "cannot be read"),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + TRUE + b"\x85R.",
            "asks to call posix.system",
        ),
        (
            b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\nX\x01\x00\x00\x000NK\x01tQ.",
            "not a tensor",
        ),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "too much memory"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.", "cannot be read"),
        (b"\x80\x02garbage", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_hostile_bytes_are_one_clear_error(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Checkpoint(raw_checkpoint(tmp_path / "bad.pt", data))


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"model": "x" * 100000}, protocol=2)
    path = raw_checkpoint(tmp_path / "bomb.pt", data, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        Checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 10**9},
        {"shape": (10**9, 3, 3, 3)},
        {"stride": (0, 0, 0, 0), "shape": (10**6, 10, 3, 3)},
        {"stride": (-1, 1, 1, 1)},
        {"shape": (4, 3)},
    ],
)
def test_a_tensor_beyond_its_bytes_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    """A view of memory that is not the file's must not become weights."""
    path = tmp_path / "state.pt"
    torch.save({"model": Forged(small("detect").state_dict(), change)}, path)
    answers = Answers(licence="MIT", size=96, labels=("a", "b", "c"))
    with pytest.raises(UserError):
        import_checkpoint(path, tmp_path / "model", answers)
    assert not (tmp_path / "model").exists()


class Lie:
    """Pickles as a tensor that its storage does not hold."""

    def __init__(self, tensor: Tensor, change: dict[str, Any]) -> None:
        self.tensor, self.change = tensor, change

    def __reduce__(self) -> Any:
        facts = {"offset": 0, "shape": tuple(self.tensor.shape), "stride": self.tensor.stride()}
        facts |= self.change
        storage = torch.storage.TypedStorage(  # type: ignore[no-untyped-call]  # torch's own
            wrap_storage=self.tensor.untyped_storage(), dtype=self.tensor.dtype, _internal=True
        )
        rest: Any = False, {}
        return torch._utils._rebuild_tensor_v2, (
            storage, facts["offset"], facts["shape"], facts["stride"], *rest,
        )  # fmt: skip


def Forged(tensors: dict[str, Tensor], change: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
    first = "model.0.conv.weight"
    return {**tensors, first: Lie(tensors[first], change)}


def test_a_module_inside_itself_and_a_hidden_method_are_refused(tmp_path: Path) -> None:
    module: Any = nn.Sequential(nn.Identity())
    module._modules["0"] = module
    torch.save({"model": module}, tmp_path / "cycle.pt")
    with pytest.raises(UserError, match="more than 50000 parts"):
        import_checkpoint(tmp_path / "cycle.pt", tmp_path / "model", Answers(licence="MIT"))
    root: Any = OrderedDict(model=small("detect").state_dict())
    root.get = "not a method"
    torch.save(root, tmp_path / "hidden.pt")
    answers = Answers(licence="MIT", size=96, labels=("a", "b", "c"))
    assert import_checkpoint(tmp_path / "hidden.pt", tmp_path / "model", answers).labels


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
