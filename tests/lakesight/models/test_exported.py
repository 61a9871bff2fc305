"""Which way a model runs: on which engine, from which export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.artefact import sha256_of
from lakesight.models.base import (
    Artefact,
    FolderSource,
    Licences,
    ModelCard,
    Parity,
    Precision,
    RuntimeName,
)
from lakesight.models.exported import (
    Way,
    choose_way,
    main_file,
    num_bytes,
    open_first,
    others,
    ways,
    why,
)
from lakesight.runtimes.base import CompiledElsewhereError, Network, Runtime, RuntimeOptions
from lakesight.runtimes.engines import num_nvidia_gpus, readers

from .onnx_files import write_convolution

without_gpu = pytest.mark.skipif(num_nvidia_gpus() > 0, reason="this machine has a GPU")


def artefact(name: str, precision: Precision = "f32", **more: Any) -> Artefact:
    main = {"onnx": "model.onnx", "onnx-nms": "model.onnx", "openvino": "model.xml"}.get(name, name)
    held = {"parity": Parity(num_views=1, num_seen=1, score=0)} | more
    files = {f"exports/{main}": "0" * 64}
    return Artefact(format=name, precision=precision, main=f"exports/{main}", files=files, **held)


def card(*artefacts: Artefact) -> ModelCard:
    """A card whose exports are its own."""
    plain = ModelCard(
        name="mine",
        kind="detect",
        family="yolo",
        source=FolderSource(uri="/nowhere"),
        sha256={},
        licences=Licences(weights="MIT", data="MIT"),
        provenance="Made by a test.",
    )
    own = tuple(one.model_copy(update={"of": plain.network}) for one in artefacts)
    return plain.model_copy(update={"artefacts": own})


ONNX, OPENVINO = artefact("onnx"), artefact("openvino")
BF16, INT8 = artefact("openvino", "bf16"), artefact("openvino", "int8")


@without_gpu
@pytest.mark.parametrize(
    ("artefacts", "wanted", "precision", "taken"),
    [
        ((), "auto", "f32", ("torch", None)),
        ((), "auto", "bf16", ("torch", None)),
        ((ONNX,), "auto", "f32", ("openvino", "onnx")),
        ((ONNX, OPENVINO), "auto", "f32", ("openvino", "openvino")),
        ((ONNX, OPENVINO), "onnxruntime", "f32", ("onnxruntime", "onnx")),
        ((ONNX, OPENVINO), "torch", "f32", ("torch", None)),
        ((ONNX, INT8), "auto", "int8", ("openvino", "openvino-int8")),
        ((ONNX, INT8), "auto", "f32", ("openvino", "onnx")),
        ((OPENVINO, BF16), "auto", "bf16", ("openvino", "openvino-bf16")),
        ((OPENVINO,), "auto", "bf16", ("openvino", "openvino")),
        ((artefact("onnx", parity=None),), "auto", "f32", ("torch", None)),
        ((artefact("onnx", parity=None),), "openvino", "f32", ("openvino", "onnx")),
        ((artefact("onnx-nms", suppressed=True),), "auto", "f32", ("torch", None)),
    ],
)
def test_the_fastest_way_is_taken(
    artefacts: tuple[Artefact, ...],
    wanted: RuntimeName,
    precision: Precision,
    taken: tuple[str, str | None],
) -> None:
    way = choose_way(card(*artefacts), wanted, precision)
    assert (way.engine.runtime, way.artefact and way.artefact.name) == taken
    assert way.engine.device == "cpu"


@pytest.mark.parametrize(
    ("artefacts", "wanted", "precision", "message"),
    [
        ((), "openvino", "f32", r"mine cannot run on openvino in f32.*exports: none.*reads \.xml"),
        ((ONNX,), "auto", "int8", r"cannot run in int8.*exports: onnx\).*--precision int8"),
        ((INT8,), "onnxruntime", "int8", r"cannot run on onnxruntime in int8"),
        ((ONNX,), "onnxruntime", "bf16", r"cannot run on onnxruntime in bf16"),
        ((artefact("onnx-nms", suppressed=True),), "openvino", "f32", "cannot run on openvino"),
    ],
)
def test_what_there_is_not_is_refused(
    artefacts: tuple[Artefact, ...], wanted: RuntimeName, precision: Precision, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose_way(card(*artefacts), wanted, precision)


def test_what_nobody_compared_is_not_called_missing() -> None:
    unproven = artefact("onnx", "int8", parity=None)
    with pytest.raises(UserError, match=r"nobody has compared onnx-int8 of mine .* by name"):
        choose_way(card(unproven), "auto", "int8")


VIEW = ImageView(width=64, height=64, fit="letterbox")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": {"model.safetensors": "1" * 64}},
        {"view": VIEW},
        {"contract": {"num_classes": 3}},
    ],
)
def test_an_export_of_other_weights_is_left_out(change: dict[str, Any]) -> None:
    whole = card(OPENVINO)
    assert whole.owns(whole.artefacts[0])
    assert choose_way(whole).engine.runtime == "openvino"
    changed = whole.model_copy(update=change)
    assert choose_way(changed).engine.runtime == "torch"
    assert others(changed) == ["openvino"]
    with pytest.raises(UserError, match=r"on openvino .*exports: openvino of other weights\)"):
        choose_way(changed, "openvino")
    with pytest.raises(UserError, match=r"openvino was made of other weights.*export it again"):
        main_file(changed, changed.artefacts[0])
    renamed = whole.model_copy(update={"name": "other", "labels": ("a",), "provenance": "x"})
    assert renamed.owns(renamed.artefacts[0])


@without_gpu
def test_a_gpu_is_for_the_machines_that_have_one() -> None:
    engine = artefact("model.engine", "f16")
    with pytest.raises(UserError, match=r"nothing installed here runs mine .*lakesight\[gpu\]"):
        choose_way(card(engine), "auto", "f16")
    there = choose_way(card(engine), "auto", "f16", here=False)
    assert (there.engine.runtime, there.engine.device) == ("tensorrt", "cuda")
    on_gpu = [way for way in ways(card(ONNX), "f32") if way.engine.device == "cuda"]
    assert [way.engine.runtime for way in on_gpu] == ["tensorrt", "onnxruntime", "torch"]


def test_what_was_compiled_elsewhere_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No GPU is needed to see it: a file of another machine is refused by AOTInductor, too."""
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "model.aoti").write_bytes(b"of another machine" * 30)
    write_convolution(tmp_path / "exports" / "model.onnx", np.ones((1, 3, 3, 3), np.float32), 8)
    network = Network(width=8, height=8, layout="NCHW")
    able = [
        Way(readers(f"model{ending}")[-1], artefact(f"model{ending}"))
        for ending in (".aoti", ".onnx")
    ]

    def open_one(way: Way) -> Runtime:
        assert way.artefact is not None
        return way.engine.open(tmp_path / way.artefact.main, network, RuntimeOptions(num_threads=1))

    way, opened = open_first(able, open_one)
    assert (way, opened.name) == (able[1], "onnxruntime")
    assert "export it again, here; taking the next way" in caplog.text
    with pytest.raises(CompiledElsewhereError, match=r"model\.aoti does not load"):
        open_first(able[:1], open_one)


@without_gpu
def test_the_reason_is_told() -> None:
    assert why(choose_way(card()), "auto").startswith("no export of it runs faster here")
    assert why(choose_way(card(ONNX)), "auto") == "it keeps every core busy"
    assert why(choose_way(card(), "torch"), "torch") == "it was asked for"


def test_what_is_opened_is_what_was_checked(tmp_path: Path) -> None:
    """A card cannot send an engine to a file that it has no digest of."""
    for main in ("/etc/passwd", "exports/other.xml", "exports/model"):
        with pytest.raises(ValidationError, match="is none of the files"):
            Artefact(format="openvino", main=main, files={"exports/model.xml": "0" * 64})
    folder = Artefact(format="x", main="exports/a", files={"exports/a/b.pb": "0" * 64})
    assert folder.ending == ""
    write_convolution(tmp_path / "conv.onnx", np.zeros((4, 3, 3, 3), np.float32), 24, "conv.bin")
    names = ("conv.onnx", "conv.bin")
    digests = {name: sha256_of(tmp_path / name) for name in names}
    source = FolderSource(uri=str(tmp_path))
    whole = Artefact(format="onnx", main="conv.onnx", files=digests)
    here = card(whole).model_copy(update={"source": source})
    (whole,) = here.artefacts
    assert main_file(here, whole).read_bytes() == (tmp_path / "conv.onnx").read_bytes()
    assert num_bytes(here, whole) == sum((tmp_path / name).stat().st_size for name in names)
    lacking = whole.model_copy(update={"files": {"conv.onnx": digests["conv.onnx"]}})
    with pytest.raises(UserError, match=r"keeps tensors in conv\.bin, which the card lists no"):
        main_file(here, lacking)
