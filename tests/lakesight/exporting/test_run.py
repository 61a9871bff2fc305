"""Whole exports: what is written, what is refused, and that nothing is left of what failed."""

import copy
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from lakesight.errors import UserError
from lakesight.exporting import openvino, torchscript
from lakesight.exporting.base import Source, Written
from lakesight.exporting.formats import Format, Wanted, parse
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import export, open_exporter
from lakesight.models import catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Model, Parity, RuntimeName
from lakesight.models.look import look
from lakesight.models.yolo.architecture import Task
from lakesight.scenes import generate
from tests.yolo_folders import LABELS, SIDE, check_same_objects

FEW = ExportOptions(num_views=3, max_map_loss=1)
TinyFolder = Callable[[Task], Path]


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in found}


def load(folder: Path, runtime: RuntimeName = "auto", **options: Any) -> Model:
    return catalog.build(catalog.spec(str(folder), options=options, runtime=runtime))


def bad(source: Source, folder: Path) -> Written:
    """Convert the network with scores that are a little too low, or for int8 of other classes."""
    module = copy.deepcopy(source.module)
    head: Any = module.network.head
    for branch in head.cv3:
        if source.precision == "f32":
            branch[-1].bias.data -= 0.05
        else:
            branch[-1].bias.data = branch[-1].bias.data.roll(1)
            branch[-1].weight.data = branch[-1].weight.data.roll(1, 0)
    if source.precision == "f32":
        return torchscript.convert(replace(source, module=module), folder)
    scratch = source.scratch / uuid4().hex
    scratch.mkdir()
    changed = replace(source, module=module, scratch=scratch, precision="f32")
    return openvino.convert(changed, folder)


BAD = Format("bad", f"{__name__}:bad", "a network with wrong scores", ("f32", "int8"))


def test_a_copy_holds_the_export_and_the_original_stays(tiny: TinyFolder, tmp_path: Path) -> None:
    before = files(tiny("segment"))
    (done,) = export(str(tiny("segment")), ["torchscript"], tmp_path / "copy", FEW)
    assert files(tiny("segment")) == before
    there = files(tmp_path / "copy")
    assert set(there) == {
        "card.json",
        "model.safetensors",
        "exports/torchscript/model.torchscript",
        "exports/torchscript/report.json",
    }
    card = catalog.resolve(str(tmp_path / "copy"))
    (artefact,) = card.artefacts
    assert artefact == done.artefact
    assert artefact.files == {artefact.main: there[artefact.main]}
    assert isinstance(artefact.parity, Parity)
    assert artefact.parity.num_views == 3
    assert artefact.parity.num_seen > 10
    assert artefact.parity.box_px == pytest.approx(0, abs=1e-3)
    report = json.loads(Path(done.report).read_text())
    assert report["weights"] == card.sha256
    assert report["engines"]["torch on cpu"]["num_seen"] == artefact.parity.num_seen
    assert report["engines"]["torch on cpu"]["largest_anywhere"]["prototypes"]["absolute"] < 1e-3


def test_auto_takes_the_export_and_gives_the_same(tiny: TinyFolder, tmp_path: Path) -> None:
    """The essence of the spec stays: an output may be continued with the export."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny("detect"), folder)
    pictures = [generate(9, index, SIDE).pixels for index in range(3)]
    plain, before = load(folder), catalog.essence(catalog.spec(str(folder)))
    assert plain.runs_on.startswith("torch on ")
    wanted = look(plain, pictures).to_pylist()
    export(str(folder), ["openvino"], None, FEW)
    fast = load(folder)
    assert fast.runs_on == "openvino on cpu"
    assert catalog.essence(catalog.spec(str(folder))) == before
    check_same_objects(look(fast, pictures).to_pylist(), wanted)
    assert load(folder, "torch").runs_on.startswith("torch on ")
    with pytest.raises(UserError, match=r"cannot run in int8.*exports: openvino\).*precision int8"):
        load(folder, precision="int8")
    (folder / "exports/openvino/model.bin").write_bytes(b"other")
    with pytest.raises(UserError, match="not the file that its card describes"):
        load(folder)


def test_again_takes_the_place_of_the_first(tiny: TinyFolder, tmp_path: Path) -> None:
    for _ in range(2):
        export(str(tiny("classify")), ["torchscript"], tmp_path / "copy", FEW)
        (tmp_path / "copy" / home(tmp_path / "copy") / "old").touch()
    export(str(tiny("classify")), ["torchscript"], tmp_path / "copy", FEW)
    card = catalog.resolve(str(tmp_path / "copy"))
    assert [one.name for one in card.artefacts] == ["torchscript"]
    assert not (tmp_path / "copy" / home(tmp_path / "copy") / "old").exists()
    assert len(list((tmp_path / "copy/exports").iterdir())) == 1


def home(folder: Path) -> str:
    """Return the folder of the one export."""
    (artefact,) = catalog.resolve(str(folder)).artefacts
    return artefact.main.rpartition("/")[0]


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (
            "f32",
            r"bad on torch on cpu does not give what the weights give: a score differs by 0\.0",
        ),
        (
            "int8",
            r"bad-int8 on openvino on cpu loses 0\.\d+ of mAP50-95 \(\d\.\d+ to .*more than 0.01",
        ),
    ],
)
def test_what_is_not_as_good_leaves_nothing(
    precision: Any, message: str, tiny: TinyFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny("detect"), folder)
    before = files(folder)
    options = ExportOptions(pictures=labelled_as_seen(folder, tmp_path / "data"), num_views=3)
    with open_exporter(str(folder), [Wanted(BAD, precision)], None, options) as exporter:
        with pytest.raises(ExportError, match=message):
            exporter.export(Wanted(BAD, precision))
        good = exporter.export(parse("torchscript"))
    assert isinstance(good.artefact.parity, Parity)
    assert good.artefact.parity.map_before is not None
    assert good.artefact.parity.map_before > 0.5
    assert good.artefact.parity.map_before == good.artefact.parity.map_after
    after = files(folder)
    assert {name for name in after if "torchscript" not in name} == set(before)
    assert after["model.safetensors"] == before["model.safetensors"]


def labelled_as_seen(folder: Path, data: Path) -> str:
    """Write pictures and a COCO file that says of them what the model says."""
    data.mkdir()
    model = load(folder, "torch", score_threshold=0.5)
    pixels = [generate(11, index, SIDE).pixels for index in range(4)]
    found = look(model, pixels).to_pylist()
    for index, picture in enumerate(pixels):
        Image.fromarray(picture).save(data / f"{index}.png")
    sizes = {"width": SIDE, "height": SIDE}
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", **sizes} for i in range(len(pixels))],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)],
        "annotations": [
            {"image_id": i, "category_id": one["class_id"] + 1, "bbox": _xywh(one["box"])}
            for i, seen in enumerate(found)
            for one in seen
        ],
    }
    for number, one in enumerate(truth["annotations"]):
        one |= {"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
    (data / "instances.json").write_text(json.dumps(truth))
    return str(data / "instances.json")


def _xywh(box: list[float]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def test_nothing_found_before_tells_no_loss(tiny: TinyFolder, tmp_path: Path) -> None:
    data = Path(labelled_as_seen(tiny("detect"), tmp_path / "data"))
    truth = json.loads(data.read_text())
    for one in truth["annotations"]:
        one["bbox"] = [0, 0, 2, 2]
    data.write_text(json.dumps(truth))
    options = ExportOptions(pictures=str(data), num_views=1)
    wanted = Wanted(BAD, "int8")
    with (
        open_exporter(str(tiny("detect")), [wanted], str(tmp_path / "copy"), options) as exporter,
        pytest.raises(
            ExportError,
            match=r"find nothing of what is labelled in .*label pictures by their classes",
        ),
    ):
        exporter.export(wanted)


def unread(source: Source, folder: Path) -> Written:
    """Write what no engine reads; in f32 what one reads but cannot open."""
    name = "model.onnx" if source.precision == "f32" else "model.unheard"
    (folder / name).write_bytes(b"nothing of the kind")
    return Written(name)


UNREAD = Format("unread", f"{__name__}:unread", "no network", ("f32", "int8"))


def test_what_an_engine_fails_with_is_of_that_format_alone(
    tiny: TinyFolder, tmp_path: Path
) -> None:
    folder, wanted = tmp_path / "mine", Wanted(UNREAD, "f32")
    shutil.copytree(tiny("classify"), folder)
    with open_exporter(str(folder), [wanted], None, FEW) as exporter:
        with pytest.raises(ExportError, match="unread fails on openvino on cpu: "):
            exporter.export(wanted)
        exporter.export(parse("torchscript"))
    assert [one.name for one in catalog.resolve(str(folder)).artefacts] == ["torchscript"]


def test_what_nothing_here_runs_proves_nothing(tiny: TinyFolder, tmp_path: Path) -> None:
    wanted = Wanted(UNREAD, "int8")
    told = {"num_views": 1, "pictures": labelled_as_seen(tiny("detect"), tmp_path / "data")}
    with (
        open_exporter(
            str(tiny("detect")), [wanted], str(tmp_path / "copy"), ExportOptions(**told)
        ) as exporter,
        pytest.raises(ExportError, match=r"nothing .* runs unread-int8.*--max-map-loss 1"),
    ):
        exporter.export(wanted)
    taken = ExportOptions(**told, max_map_loss=1)
    with open_exporter(str(tiny("detect")), [wanted], str(tmp_path / "copy"), taken) as exporter:
        assert exporter.export(wanted).artefact.parity is None
    with pytest.raises(UserError, match=r"nothing that Lakesight knows runs it.*export to coreml"):
        export(str(tiny("detect")), ["coreml-f16"], tmp_path / "new", ExportOptions(**told))
    assert not (tmp_path / "new").exists()


def test_what_nobody_could_judge_is_refused(tiny: TinyFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"what openvino-bf16 loses cannot be told.*--pictures"):
        export(str(tiny("pose")), ["openvino-bf16"], tmp_path / "copy")
    assert not (tmp_path / "copy" / "exports").exists()


def test_two_exports_do_not_write_at_once(tiny: TinyFolder, tmp_path: Path) -> None:
    shutil.copytree(tiny("classify"), tmp_path / "mine")
    handle = os.open(tmp_path / "mine", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another export writes to"):
            export(str(tmp_path / "mine"), ["torchscript"], None, FEW)
    finally:
        os.close(handle)


def test_a_place_that_does_not_fit_is_refused(tiny: TinyFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="family 'tf-detection'; expected a YOLO's model folder"):
        export("ssd-mobilenet-v2-coco", ["torchscript"], tmp_path / "ssd", FEW)
    assert not (tmp_path / "ssd").exists()
    with pytest.raises(UserError, match="name an OUTPUT folder"):
        export("starter-yolo-detect", ["torchscript"], None, FEW)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(UserError, match="is not empty, and no copy of tiny-pose"):
        export(str(tiny("pose")), ["torchscript"], tmp_path / "full", FEW)
    shutil.copytree(tiny("detect"), tmp_path / "other")
    with pytest.raises(UserError, match="holds other weights"):
        export(str(tiny("pose")), ["torchscript"], tmp_path / "other", FEW)
    with pytest.raises(UserError, match="onnx-nms cannot hold a network of the task obb"):
        export(str(tiny("obb")), ["onnx-nms"], tmp_path / "obb", FEW)
    assert not (tmp_path / "obb").exists()
