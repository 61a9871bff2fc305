"""What an exported BLIP-2 is held against, what its report says, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lakesight.errors import UserError
from lakesight.exporting.blip2.compare import ComparedRetriever, Measured
from lakesight.exporting.blip2.subject import Blip2Subject, beyond
from lakesight.exporting.judge import ExportError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.parity import Difference
from lakesight.exporting.pictures import views_for
from lakesight.exporting.run import export
from lakesight.models import catalog
from lakesight.models.base import PartsParity
from tests.lakesight.models import tiny

Exported = Callable[[str], Path]
FEW = ExportOptions(num_views=1)


def test_the_report_says_how_far_each_engine_is_off(exported: Exported) -> None:
    folder = exported("blip2-opt")
    card = catalog.resolve(str(folder))
    assert [one.name for one in card.artefacts] == ["onnx", "onnx-int8", "onnx-int4"]
    report = json.loads((folder / "exports/onnx/report.json").read_text())
    assert report["weights"] == card.sha256
    assert report["num_views"] == 2
    assert set(report["engines"]) == {"onnxruntime on cpu", "openvino on cpu"}
    for measured in report["engines"].values():
        assert set(measured["parts"]) == {"features", "queries", "logits"}
        assert all(0 < part["relative"] < 1e-4 for part in measured["parts"].values())
        assert measured["same"] == {"greedy": 1.0, "beams": 1.0}
        assert measured["others"] == []
    smaller = json.loads((folder / "exports/onnx-int4/report.json").read_text())
    for measured in smaller["engines"].values():
        assert measured["parts"]["logits"]["absolute"] > 0.1
        assert measured["same"]["greedy"] < 1
        before, after = measured["others"][0]
        assert before != after


def test_a_retriever_is_compared_by_all_that_it_gives(exported: Exported) -> None:
    (artefact,) = catalog.resolve(str(exported("blip2-itc"))).artefacts
    assert isinstance(artefact.parity, PartsParity)
    parts = {"features", "queries", "vectors", "texts", "pairs", "match"}
    assert set(artefact.parity.parts) == parts
    assert max(artefact.parity.parts.values()) < 1e-4
    assert artefact.parity.same == {}
    assert {Path(name).name for name in artefact.files if name.endswith("onnx")} == {
        "vision.onnx", "queries.onnx", "texts.onnx", "pairs.onnx",
    }  # fmt: skip


def test_a_t5_has_its_encoder_in_parts_of_its_own(exported: Exported) -> None:
    whole, smaller = catalog.resolve(str(exported("blip2-t5"))).artefacts
    assert isinstance(whole.parity, PartsParity)
    assert whole.parity.same == {"greedy": 1.0, "beams": 1.0}
    assert whole.parity.parts["logits"] < 1e-4
    names = {Path(name).name for name in whole.files if name.endswith("onnx")}
    assert {"encoder.onnx", "cross.onnx", "decoder.onnx"} < names
    assert isinstance(smaller.parity, PartsParity)
    assert smaller.parity.parts["logits"] > 1e-3


def test_graphs_of_other_weights_are_told_by_their_numbers(
    exported: Exported, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = tiny.write_blip2_itc(tmp_path / "other")
    card = catalog.resolve(str(other))
    assert card.view is not None
    samples = views_for(None, card.view, 1)
    compared = ComparedRetriever(card, other, samples.views)
    subject = Blip2Subject(card, compared, samples, tmp_path)
    (artefact,) = catalog.resolve(str(exported("blip2-itc"))).artefacts
    folder = exported("blip2-itc") / "exports/onnx"
    with pytest.raises(ExportError, match=r"onnx on openvino on cpu .* features differ by .* of"):
        subject.judge(artefact, folder)
    found, told = subject.judge(artefact.model_copy(update={"precision": "int8"}), folder)
    assert found is not None
    assert found.parts["features"] > 0.1, "what is not f32 is told, and taken"
    assert len(told) == 2


def test_captions_that_are_others_end_an_export_in_f32() -> None:
    near = {"logits": Difference(absolute=1e-5, relative=1e-6)}
    one = ("a red star", "a red circle")
    tied = Measured(parts=near, same={"greedy": 0.9375}, others=(one,))
    assert beyond(tied) is None
    other = Measured(parts=near, same={"greedy": 1.0, "beams": 0.5}, others=(one,))
    assert beyond(other) == "50% of captions (beams) are the same: 'a red star' is 'a red circle'"
    far = {"logits": Difference(absolute=1.0, relative=float("nan"))}
    assert str(beyond(Measured(parts=far))).startswith("logits differ by nan of their range")


def test_numbers_that_are_none_end_the_export(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.write("blip2-itc", tmp_path / "mine")
    tensors = load_file(folder / "model.safetensors")
    tensors["itm_head.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"cannot be compared with: .* not finite"):
        export(str(folder), ["onnx"], tmp_path / "out", FEW)
    assert catalog.resolve(str(tmp_path / "out")).artefacts == ()


@pytest.mark.parametrize(
    ("name", "format_", "message"),
    [
        ("blip2-opt", "openvino", "a BLIP-2 is not written as openvino, only as onnx"),
        ("blip2-itc", "onnx-int8", "has no language model, whose weights onnx-int8"),
        ("clip", "onnx", "is of type 'clip': expected a YOLO's model folder or a BLIP-2"),
        ("blip", "onnx", "is of type 'blip'"),
    ],
)
def test_what_cannot_be_had_is_refused_and_leaves_no_export(
    name: str, format_: str, message: str, tmp_path: Path
) -> None:
    folder = tiny.write(name, tmp_path / name)
    with pytest.raises(UserError, match=message):
        export(str(folder), [format_], tmp_path / "out", FEW)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_card_wants_an_output(tmp_path: Path) -> None:
    folder = tiny.write("blip2-opt", tmp_path / "mine")
    with pytest.raises(UserError, match="name an OUTPUT folder"):
        export(str(folder), ["onnx"], None, FEW)


def test_no_file_tells_of_the_machine_that_wrote_it(exported: Exported) -> None:
    home = str(Path(torch.__file__).parents[2]).encode()
    files = [one for one in (exported("blip2-opt") / "exports").rglob("*") if one.is_file()]
    assert len(files) > 20
    assert [one.name for one in files if home in one.read_bytes()] == []
    assert all(one.stat().st_mode & 0o044 for one in files), "other users may read them"
