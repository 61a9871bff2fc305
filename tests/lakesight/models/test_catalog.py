"""Names to cards to specs: what fits, and what is said where it does not."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Kind, Model, ModelSpec
from lakesight.models.families import FAMILIES
from lakesight.models.yolo_import import Answers, import_yolo

from .onnx_files import COLOURS, write_yolo


def test_a_spec_is_small_picklable_and_comparable() -> None:
    spec = catalog.spec("ssd-mobilenet-v2-coco", "detect")
    assert len(pickle.dumps(spec)) < 8000
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_spec_holds_every_option_but_the_threads() -> None:
    spec = catalog.spec("ssd-mobilenet-v2-coco", options={"score_threshold": 0.4, "num_threads": 2})
    assert spec.options == {
        "precision": "f32",
        "score_threshold": 0.4,
        "max_detections": 300,
        "iou_threshold": 0.6,
    }


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("efficientnet-lite", "efficientnet-lite3"),
        ("movenet", "movenet-lightning"),
        ("xyz", "known: "),
    ],
)
def test_an_unknown_name_comes_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"no model is called '{name}'.*{near}"):
        catalog.resolve(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ssd-mobilenet-v2-coco", "caption"),
        ("movenet-lightning", "detect"),
        ("ssd-mobilenet-v2-coco", "embed"),
    ],
)
def test_a_model_of_another_kind_is_refused(name: str, kind: Kind) -> None:
    with pytest.raises(UserError, match=f"expected a model of kind {kind}, but {name} is of kind"):
        catalog.spec(name, kind)


def test_one_name_classifies_and_embeds() -> None:
    classify = catalog.resolve("efficientnet-lite3")
    embed = catalog.resolve("efficientnet-lite3", "embed")
    assert (classify.kind, classify.family) == ("classify", "classifier")
    assert (embed.kind, embed.family) == ("embed", "image-embedder")
    assert embed.sha256 == classify.sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"score_treshold": 0.3},
            r"option score_treshold of ssd.*Options: precision, .*score_threshold",
        ),
        ({"score_threshold": 3}, r"score_threshold of ssd.*less than or equal to 1, got 3"),
        ({"precision": "int4"}, r"precision of ssd.*got 'int4'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        catalog.spec("ssd-mobilenet-v2-coco", options=options)


def test_a_runtime_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"onnxruntime does not read frozen_inference_graph\.pb"):
        lakesight.load("ssd-mobilenet-v2-coco", runtime="onnxruntime")


def test_every_family_is_a_class_with_options() -> None:
    for name in FAMILIES:
        card = catalog.built_in()["efficientnet-lite3"].model_copy(update={"family": name})
        assert catalog.options_of(card).model_config["extra"] == "forbid"


def test_a_model_is_what_the_protocol_says() -> None:
    model = lakesight.load("efficientnet-lite3", runtime="openvino").model
    assert isinstance(model, Model)
    spec = catalog.spec("efficientnet-lite3").model_copy(update={"column": "things"})
    assert catalog.build(spec).output.name == "things"


def test_consent_travels_in_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver accepted, an actor on another machine builds without its environment."""
    monkeypatch.delenv("LAKESIGHT_ALLOW_LICENCES", raising=False)
    path = write_yolo(tmp_path / "colours.onnx", "v8")
    import_yolo(path, tmp_path / "model", Answers(licence="AGPL-3.0-only", labels=COLOURS))
    spec = catalog.spec(str(tmp_path / "model"), licences_accepted=["AGPL-3.0-only", "unknown"])
    assert spec.licences_accepted == ("AGPL-3.0-only",)
    assert catalog.build(spec).output.name == "detections"
    with pytest.raises(UserError, match="AGPL"):
        catalog.build(spec.model_copy(update={"licences_accepted": ()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "smell"}, "kind"),
        ({"provenance": None}, "provenance"),
        ({"colour": "red"}, "colour"),
        ({"family": "none-such"}, "names the family 'none-such'; expected one of yolo-onnx"),
    ],
)
def test_a_broken_card_is_the_users_mistake(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    card = json.loads(catalog.built_in()["movenet-lightning"].model_dump_json()) | change
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=message):
        catalog.spec(str(tmp_path))


def test_a_card_that_is_no_json_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(UserError, match=r"card\.json is not a model card"):
        catalog.resolve(str(tmp_path))


def test_no_card_is_read_before_one_is_asked_for() -> None:
    """A card that came to harm breaks what needs it, not every command."""
    code = """
import sys
opened = []
sys.addaudithook(lambda event, told: opened.append(str(told[0])) if event == "open" else None)
from lakesight.models import catalog
assert not [name for name in opened if name.endswith("card.json")]
catalog.built_in()
assert [name for name in opened if name.endswith("card.json")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
