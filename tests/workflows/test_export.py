"""`lakesight export`, as it is typed."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lakesight.errors import UserError
from lakesight.exporting.formats import all_here, all_in_parts
from lakesight.lake.store import Store
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Parity, PartsParity
from lakesight.models.exported import main_file
from lakesight.models.look import look
from lakesight.scenes import generate
from tests import yolo_folders
from workflows.__main__ import main
from workflows.export import Export, verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's folder with two exports in it."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    yolo_folders.write(folder, "classify")
    words = ["export", str(folder), "--format", "openvino", "--format", "torchscript"]
    assert main([*words, "--num-views", "2"]) == 0
    return folder


def test_exports_are_written_and_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(folder), str(tmp_path / "copy"), "--format", "torchscript"]
    assert main([*words, "--num-views", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("torchscript")
    assert "scores within" in told[0]
    assert told[1] == f"wrote 1 of 1 exports into {tmp_path / 'copy'}"
    assert main([*words, "--num-views", "2", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert row["name"] == "torchscript"
    assert row["parity"]["num_views"] == 2
    assert Path(row["report"]).is_file()


def test_an_export_that_fails_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yolo_folders.write(tmp_path / "mine", "classify")
    damage(tmp_path / "mine")
    words = ["export", str(tmp_path / "mine"), "--format", "torchscript", "--num-views", "1"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "torchscript on torch on cpu does not give what the weights give: numbers" in told.err
    assert "wrote 0 of 1 exports" in told.out
    assert catalog.resolve(str(tmp_path / "mine")).artefacts == ()
    assert list((tmp_path / "mine" / "exports").iterdir()) == []


def damage(folder: Path) -> None:
    """Put a number that is none among the weights."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.9.linear.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    card = json.loads((folder / "card.json").read_text())
    card["sha256"] = {"model.safetensors": sha256_of(folder / "model.safetensors")}
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name at least one --format: torchscript, "),
        (["--format", "all", "--precision", "int8"], "what onnx-int8 loses cannot be told without"),
        (["--format", "onix"], "no format is called 'onix'"),
        (["--format", "openvino-int8"], "what openvino-int8 loses cannot be told without labels"),
        (["--format", "onnx-int4"], "onnx-int4 is for language models: a YOLO is written in f32"),
        (["--format", "onnx-nms"], "onnx-nms cannot hold a network of the task classify"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--list", "--json"]) == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["onnx"]["missing"] is None
    assert rows["openvino"]["precisions"] == ["f32", "f16", "bf16", "int8"]
    assert main(["export", "--list"]) == 0
    assert "OpenVINO IR; can be written here" in capsys.readouterr().out


def test_a_folder_in_a_bucket_runs_its_exports(folder: Path, shared_bucket: str) -> None:
    uri = f"s3://{shared_bucket}/exported/mine"
    store, prefix = Store.open(uri)
    for path in folder.rglob("*"):
        if path.is_file():
            store.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    there, here = (catalog.build(catalog.spec(str(place))) for place in (uri, folder))
    assert there.runs_on == here.runs_on == "openvino on cpu"
    pictures = [generate(0, index, 96).pixels for index in range(2)]
    assert look(there, pictures).equals(look(here, pictures))
    with pytest.raises(UserError, match="name an OUTPUT folder"):
        Export(model=uri, format=("torchscript",)).run()


def test_a_bucket_takes_the_exports(
    folder: Path, shared_bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"s3://{shared_bucket}/exported/here"
    words = ["export", str(folder), uri, "--format", "torchscript", "--num-views", "1"]
    assert main(words) == 0
    assert f"wrote 1 of 1 exports into {uri}" in capsys.readouterr().out
    assert not Path("s3:").exists()
    model = catalog.build(catalog.spec(uri, runtime="torch"))
    (artefact,) = model.card.artefacts
    assert artefact.name == "torchscript"
    assert main_file(model.card, artefact).is_file()
    assert len(look(model, [generate(0, 0, 96).pixels])) == 1


def test_an_export_of_other_weights_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shutil.copytree(folder, tmp_path / "mine")
    card = json.loads((tmp_path / "mine/card.json").read_text())
    card["view"] |= {"width": 64, "height": 64}
    (tmp_path / "mine/card.json").write_text(json.dumps(card))
    assert main(["models", "show", str(tmp_path / "mine")]) == 0
    assert "openvino (of other weights: export it again)" in capsys.readouterr().out
    model = catalog.build(catalog.spec(str(tmp_path / "mine")))
    assert model.runs_on.startswith("torch on ")
    assert "openvino, torchscript left out, made of other weights" in caplog.text


def test_all_is_every_format_of_the_task_and_precision(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the formats that are named."""
    for task in ("obb", "pose"):
        names = [one.name for one in all_here(task)]
        assert ("onnx-nms" in names) == (task == "pose")
        assert {"torchscript", "openvino", "coreml"} <= set(names)
        assert all("-f16" not in name for name in names)
    words = ["export", str(folder), str(tmp_path / "copy"), "--precision", "bf16"]
    words += ["--format", "all", "--format", "torchscript-f32"]
    assert main([*words, "--num-views", "1", "--max-map-loss", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["openvino-bf16", "torchscript", "wrote"]


def test_a_format_that_cannot_be_had_does_not_end_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", "")  # no compiler
    words = ["export", str(folder), str(tmp_path / "copy"), "--num-views", "1", "--json"]
    assert main([*words, "--format", "aotinductor", "--format", "torchscript"]) == 1
    told = capsys.readouterr()
    rows = list(map(json.loads, told.out.splitlines()))
    assert [row["name"] for row in rows] == ["aotinductor", "torchscript"]
    assert "needs a C++ compiler" in rows[0]["error"]
    assert "needs a C++ compiler" in told.err
    assert rows[1]["error"] is None


def test_what_saw_nothing_is_no_verdict() -> None:
    seen = Parity(num_views=16, num_seen=0, box_px=0, score=0)
    assert verdict(seen) == "no object seen on 16 pictures: name some of yours with --pictures"
    told = verdict(seen.model_copy(update={"num_seen": 7, "box_px": 0.01}))
    assert told == "boxes within 0.01 px, scores within 0 (7 anchors of 16 pictures)"


def test_what_writes_is_told_by_its_captions() -> None:
    parts = {"features": 1e-6, "logits": 0.016}
    same = {"greedy": 0.9375, "beams": 1.0}
    assert verdict(PartsParity(num_views=16, parts=parts, same=same)) == (
        "logits within 0.016 of their range, 94% of greedy captions the same, "
        "100% of beams captions the same (16 pictures)"
    )
    assert verdict(PartsParity(num_views=2, parts=parts)) == (
        "logits within 0.016 of their range (2 pictures)"
    )


def test_all_of_a_blip2_is_what_holds_its_parts() -> None:
    assert [one.name for one in all_in_parts()] == ["onnx"]
    assert [one.name for one in all_in_parts("int4")] == ["onnx-int4"]
    assert all_in_parts("bf16") == []
