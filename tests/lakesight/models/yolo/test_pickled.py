"""Hostile checkpoints: refused in one clear line, and nothing in them is run."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.yolo.blocks import Conv
from lakesight.models.yolo.importing import import_checkpoint
from lakesight.models.yolo.pickled import Checkpoint
from lakesight.models.yolo_import import Answers

from .test_network import small


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
