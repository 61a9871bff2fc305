"""Where exports are put: by one at a time, and never named before they are there."""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lakesight.errors import UserError
from lakesight.exporting.place import FOLDER, REPORT, held, put
from lakesight.lake.store import Store
from lakesight.media.view import ImageView
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Artefact, FolderSource, Licences, ModelCard
from lakesight.models.yolo.folder import write_card

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.rmtree"}
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture
def model(tmp_path: Path) -> ModelCard:
    """A model folder whose weights nobody opens."""
    folder = tmp_path / "model"
    (folder / "more").mkdir(parents=True)
    for name in ("model.safetensors", "more/names.txt"):
        (folder / name).write_text(name)
    card = ModelCard(
        name="mine",
        kind="detect",
        family="yolo",
        source=FolderSource(uri=str(folder)),
        sha256={n: sha256_of(folder / n) for n in ("model.safetensors", "more/names.txt")},
        licences=Licences(weights="MIT", data="MIT"),
        labels=("a", "b"),
        view=ImageView(width=64, height=64),
        provenance="Made by a test.",
    )
    write_card(folder, card)
    return card


def exported(card: ModelCard, output: str, name: str = "onnx", text: str = "new") -> Artefact:
    """Put an export of one file there, as an `Exporter` does."""
    with held(card, output) as folder:
        part = folder / FOLDER / f".{name}.{uuid4().hex}"
        part.mkdir(parents=True)
        (part / "model.onnx").write_text(text)
        files = {"model.onnx": sha256_of(part / "model.onnx")}
        (part / REPORT).write_text("{}")
        artefact = Artefact(format=name, main="model.onnx", files=files, of=card.network)
        return put(artefact, part, folder)


def killed_at(step: int, work: Callable[[], Any]) -> bool:
    """Do the work in a process that is killed before its so-many-th write; return whether it was.

    Python tells of every file operation before it does it.
    """
    child = os.fork()
    if child == 0:
        done = 0

        def hook(event: str, told: tuple[Any, ...]) -> None:
            nonlocal done
            if event in WRITES or (event == "open" and told[2] & TO_WRITE):
                if done == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1

        sys.addaudithook(hook)
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def names(folder: Path) -> set[str]:
    """Return all that is there but a card half written, which is of a training as well."""
    found = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    return {name for name in found if not name.startswith(".card.json")}


def card_in(folder: Path) -> ModelCard:
    """Return the card of a folder, whose every file is whole."""
    card = catalog.resolve(str(folder))
    every = [card.sha256, *(one.files for one in card.artefacts)]
    for name, digest in [item for files in every for item in files.items()]:
        assert sha256_of(folder / name) == digest
    return card


@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
def test_it_may_be_killed_anywhere(again: bool, model: ModelCard, tmp_path: Path) -> None:
    step = 0
    while True:
        output = tmp_path / f"out-{step}"
        if again:
            exported(model, str(output), text="old")
        was_killed = killed_at(step, partial(exported, model, str(output)))
        if again or (output / "card.json").exists():
            found = {one.name for one in card_in(output).artefacts}
            assert found == {"onnx"} or not (again or found)
        (artefact,) = card_in(exported_into(model, output)).artefacts
        home = artefact.main.rpartition("/")[0]
        assert names(output) == {
            "card.json", *model.sha256, f"{home}/model.onnx", f"{home}/{REPORT}",
        }  # fmt: skip
        assert (output / artefact.main).read_text() == "new"
        if not was_killed:
            break
        step += 1
    assert step > 8


def exported_into(card: ModelCard, output: Path) -> Path:
    exported(card, str(output))
    return output


def test_a_new_output_belongs_to_the_first(model: ModelCard, tmp_path: Path) -> None:
    with held(model, str(tmp_path / "out")) as folder:
        assert card_in(folder).name == "mine"
        with pytest.raises(UserError, match="another export writes to"):
            exported(model, str(tmp_path / "out"))
    exported(model, str(tmp_path / "out"))


def test_an_output_may_be_called_as_a_built_in_model(
    model: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("onnx", "openvino"):
        exported(model, "starter-yolo-detect", name)
    found = card_in(tmp_path / "starter-yolo-detect")
    assert (found.name, [one.name for one in found.artefacts]) == ("mine", ["onnx", "openvino"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": ImageView(width=32, height=64)}, "holds other view"),
        ({"labels": ("b", "a")}, "holds other labels"),
        ({"contract": {"a": 1}}, "holds other contract"),
        ({"sha256": {"model.safetensors": "0" * 64}}, "holds other weights"),
    ],
)
def test_another_network_is_not_added_to(
    change: dict[str, Any], message: str, model: ModelCard, tmp_path: Path
) -> None:
    exported(model, str(tmp_path / "out"))
    with pytest.raises(UserError, match=message):
        exported(model.model_copy(update=change), str(tmp_path / "out"))


def test_what_is_no_copy_is_left_alone(model: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.safetensors").write_text("of somebody else")
    with pytest.raises(UserError, match="is not empty, and no copy of mine"):
        exported(model, str(tmp_path / "out"))
    assert (tmp_path / "out/model.safetensors").read_text() == "of somebody else"
    with pytest.raises(UserError, match=r"cannot write into .*: Not a directory"):
        exported(model, str(tmp_path / "out/model.safetensors/deeper"))


def test_a_card_cannot_send_the_broom_elsewhere(model: ModelCard, tmp_path: Path) -> None:
    """Only folders of exports are removed, whatever a card says of where they lie."""
    output = tmp_path / "out"
    exported(model, str(output), text="old")
    card = json.loads((output / "card.json").read_text())
    card["artefacts"][0] |= {"main": "exports/../model.safetensors", "files": {
        "exports/../model.safetensors": model.sha256["model.safetensors"]}}  # fmt: skip
    (output / "card.json").write_text(json.dumps(card))
    exported(model, str(output))
    assert card_in(output).sha256 == model.sha256


def test_a_bucket_is_published_to(model: ModelCard, shared_bucket: str) -> None:
    uri = f"s3://{shared_bucket}/exported/{uuid4().hex}"
    store, prefix = Store.open(uri)

    def there() -> set[str]:
        keys = [key for page in store.list(prefix) for key in page["key"].to_pylist()]
        return {key.removeprefix(f"{prefix}/") for key in keys}

    exported(model, uri, "onnx", "old")
    exported(model, f"{uri}/", "openvino")
    first = {f"exports/{name}/{file}" for name in ("onnx", "openvino")
             for file in ("model.onnx", REPORT)}  # fmt: skip
    assert there() == {"card.json", *model.sha256} | first
    with pytest.raises(UserError, match=f"{uri} holds other labels"):
        exported(model.model_copy(update={"labels": ("b", "a")}), uri)
    exported(model, uri)
    card = catalog.resolve(uri)
    mains = {one.name: one.main for one in card.artefacts}
    assert store.get(f"{prefix}/{mains['onnx']}") == b"new"
    gone = {f"exports/onnx/{file}" for file in ("model.onnx", REPORT)}
    assert there() & first == first - gone
    with held(model, uri) as folder:
        write_card(folder, card.model_copy(update={"artefacts": ()}))
    assert not any(name.startswith("exports/") for name in there())
    with (
        pytest.raises(UserError, match="somebody else has exported into"),
        held(model, uri) as folder,
    ):
        exported(model, uri)
    store.put(f"{prefix}-other/notes.txt", b"mine")
    with pytest.raises(UserError, match="is not empty, and no copy of mine"):
        exported(model, f"{uri}-other")
