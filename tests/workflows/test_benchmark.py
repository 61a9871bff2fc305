"""`lakesight benchmark`, as it is typed: every way is timed, or says why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lakesight.models.base import Precision
from lakesight.models.exported import Way
from lakesight.runtimes.engines import ENGINES, num_nvidia_gpus
from tests import yolo_folders
from workflows.__main__ import main
from workflows.timing import Row, verdicts

without_gpu = pytest.mark.skipif(num_nvidia_gpus() > 0, reason="this machine has a GPU")
SHORT = ("--seconds", "0.01")
CODE = "opening it runs code that is in it: --run-code does"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's folder with three exports in it; do not change it."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    yolo_folders.write(folder, "classify")
    formats = [word for name in ("openvino", "onnx", "torchscript") for word in ("--format", name)]
    assert main(["export", str(folder), *formats, "--num-views", "2"]) == 0
    return folder


def rows(
    capsys: pytest.CaptureFixture[str], *words: str
) -> dict[tuple[str, str, str | None], dict[str, Any]]:
    assert main(["benchmark", *words, *SHORT, "--json"]) == 0
    found = map(json.loads, capsys.readouterr().out.splitlines())
    return {(row["export"], row["precision"], row["runtime"]): row for row in found}


def is_timed(row: dict[str, Any]) -> bool:
    return row["problem"] is None and row["images_s"] > 0 and row["images_s_in_eights"] > 0


@without_gpu
def test_every_way_is_timed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, str(folder), "--run-code")
    assert set(found) == {
        ("weights", "f32", "torch"),
        ("weights", "bf16", "torch"),
        ("openvino", "f32", "openvino"),
        ("openvino", "bf16", "openvino"),
        ("onnx", "f32", "openvino"),
        ("onnx", "bf16", "openvino"),
        ("onnx", "f32", "onnxruntime"),
        ("torchscript", "f32", "torch"),
    }
    assert all(map(is_timed, found.values())), found
    auto = [way for way, row in found.items() if row["auto"]]
    assert auto == [("openvino", "f32", "openvino"), ("openvino", "bf16", "openvino")]
    assert found["openvino", "f32", "openvino"]["parity"]["score"] < 1e-3
    assert found["openvino", "bf16", "openvino"]["parity"] is None


@without_gpu
def test_people_read_what_auto_takes_and_what_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(folder), *SHORT]) == 0
    out = capsys.readouterr().out
    way = "openvino on openvino, cpu: it keeps every core busy; "
    for precision in ("f32", "bf16"):
        assert f"auto in {precision} takes {way}" in out
    assert ("the fastest measured here" in out) or ("times as fast" in out)
    (script,) = (line for line in out.splitlines() if line.startswith("torchscript "))
    assert f"no: {CODE}" in script
    assert f"lakesight export {folder} --format torch-export --format onnx-dynamic" in out


@without_gpu
def test_what_fails_is_told_in_its_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    card = json.loads((broken / "card.json").read_text())
    by_name = {one["format"]: one for one in card["artefacts"]}
    by_name["openvino"]["parity"] = None
    with (broken / by_name["onnx"]["main"]).open("ab") as file:
        file.write(b"more")
    (broken / "card.json").write_text(json.dumps(card))
    assert main(["benchmark", str(broken), *SHORT]) == 0
    out = capsys.readouterr().out.splitlines()
    damaged = [line for line in out if line.startswith("onnx ")]
    assert len(damaged) == 2
    assert all(
        "no: exports/onnx/model.onnx is not the file that its card" in one for one in damaged
    )
    (unjudged,) = (line for line in out if line.startswith("openvino "))
    assert "not compared" in unjudged
    # auto never takes what nobody compared; what it takes instead is the damaged file
    assert "auto in f32 takes onnx on openvino, cpu, which fails: see its row" in out


@without_gpu
def test_an_export_of_other_weights_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    card = json.loads((other / "card.json").read_text())
    card["view"] |= {"width": 64, "height": 64}
    (other / "card.json").write_text(json.dumps(card))
    found = rows(capsys, str(other))
    assert "made of other weights" in found["openvino", "f32", "openvino"]["problem"]
    assert is_timed(found["weights", "f32", "torch"])
    assert found["weights", "f32", "torch"]["auto"]


def test_formats_may_be_written_for_the_moment(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in folder.rglob("*"))
    found = rows(capsys, str(folder), "--export", "torchscript")
    assert is_timed(found["torchscript", "f32", "torch"])
    assert {way[0] for way in found} == {"weights", "torchscript"}
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_only_a_yolo_has_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "efficientnet-lite3"]) == 2
    assert "expected a YOLO's model folder" in capsys.readouterr().err


def timed(runtime: str, ms: float, *, auto: bool = False, precision: Precision = "f32") -> Row:
    engine = next(one for one in ENGINES if (one.runtime, one.device) == (runtime, "cpu"))
    row = Row(f"for {runtime}", precision, Way(engine, None), auto=auto)
    row.seconds = {1: ms / 1000, 8: ms / 1000}
    return row


def test_auto_is_compared_by_runtime_and_by_precision() -> None:
    """A runtime counts with the export that it runs best."""
    slow_file, fast_file = timed("openvino", 30, auto=True), timed("openvino", 10)
    bf16 = [timed("torch", 9, precision="bf16"), timed("openvino", 3, auto=True, precision="bf16")]
    found = verdicts([slow_file, timed("mnn", 5), fast_file, *bf16])
    assert found["f32"].ratio == pytest.approx(2)
    assert str(found["f32"]) == "measured here, for mnn on mnn, cpu is 2.0 times as fast"
    assert str(found["bf16"]) == "the fastest measured here"
    assert verdicts([timed("mnn", 5)]) == {}
