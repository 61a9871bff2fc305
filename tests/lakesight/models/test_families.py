"""Families: one entry each, and more of them from packages that are installed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.families import FAMILIES, builder_of
from lakesight.models.hub import card_for

from . import tiny

MODEL = '''
"""How bright a picture is: a family of another package."""

import numpy as np
import pyarrow as pa

from lakesight.models.base import Frozen
from lakesight.models.artefact import read_labels
from lakesight.models.families import Family
from lakesight.schemas import CLASSES


class Options(Frozen):
    """None."""

    bright: int = 128
    """From here on a picture is bright."""


class Brightness:
    Options = Options
    concurrent = True
    runs_on = "numpy on cpu"

    def __init__(self, card, folder, options, runtime):
        self.card, self.view, self._bright = card, card.view, options.bright
        self.output = pa.field("classes", CLASSES)
        self._labels = read_labels(card, folder)

    def predict(self, views, rows):
        found = [int(np.mean(view) >= self._bright) for view in views]
        values = [[{"class_id": one, "label": self._labels[one], "score": 1.0}] for one in found]
        return pa.array(values, CLASSES)


FAMILY = Family("brightness:Brightness", checkpoints={"BrightnessModel": "classify"})
BROKEN = "no family"
'''
LABELS = b"dark\nbright\n"
CARD = {
    "name": "brightness",
    "kind": "classify",
    "family": "brightness",
    "source": {"type": "folder", "uri": "."},
    "sha256": {"labels.txt": hashlib.sha256(LABELS).hexdigest()},
    "licences": {"weights": "Apache-2.0", "data": "none"},
    "labels": "labels.txt",
    "view": {"width": 8, "height": 8},
    "provenance": "No weights.",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of packages with one whose entry point names a family."""
    packages = tmp_path / "packages"
    about = packages / "lakesight_brightness-1.0.dist-info"
    about.mkdir(parents=True)
    (packages / "brightness.py").write_text(MODEL)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lakesight-brightness\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text(
        "[lakesight.families]\nbrightness = brightness:FAMILY\n"
    )
    monkeypatch.syspath_prepend(packages)
    return about


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "labels.txt").write_bytes(LABELS)
    (folder / "card.json").write_text(json.dumps(CARD))
    return folder


def test_an_installed_package_adds_a_family(installed: Path, folder: Path) -> None:
    model = lakesight.load(str(folder), bright=100)
    dark, bright = (np.full((20, 20, 3), value, np.uint8) for value in (99, 101))
    found = [one[0]["label"] for one in model.predict([dark, bright]).column.to_pylist()]
    assert found == ["dark", "bright"]
    assert builder_of("BrightnessModel", "it") == ("classify", "brightness")
    with pytest.raises(UserError, match=r"it is a Darkness.*CLIPModel.*, BrightnessModel$"):
        builder_of("Darkness", "it")
    assert "brightness" not in FAMILIES
    with pytest.raises(UserError, match=r"option brigth of brightness.*Options: bright"):
        catalog.spec(str(folder), options={"brigth": 1})


def test_without_the_package_the_family_is_unknown(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"names the family 'brightness'; expected one of yolo-onnx"
    ):
        lakesight.load(str(folder))


@pytest.mark.parametrize("place", ["brightness:BROKEN", "brightness:NONE", "no_such_module:FAMILY"])
def test_a_package_that_is_broken_is_named(place: str, installed: Path, folder: Path) -> None:
    (installed / "entry_points.txt").write_text(f"[lakesight.families]\nbrightness = {place}\n")
    with pytest.raises(UserError, match=rf"brightness'.* is to be a Family at {place}, but got"):
        lakesight.load(str(folder))
    assert builder_of("CLIPModel", "it") == ("embed", "image-text")  # which is not the package's


def test_every_family_says_what_exists() -> None:
    kinds = {kind for one in FAMILIES.values() for kind in one.checkpoints.values()}
    assert kinds == {"detect", "embed", "caption"}
    for name, one in FAMILIES.items():
        assert one.load().__name__ in one.model, name
    for card in catalog.built_in().values():
        assert set(catalog.kinds(card).values()) <= FAMILIES.keys()


def test_what_a_checkpoint_can_do_besides_follows_its_family(tmp_path: Path) -> None:
    blip, blip2 = (
        card_for(str(tiny.write(name, tmp_path / name))) for name in ("blip", "blip2-t5")
    )
    assert blip is not None
    assert blip2 is not None
    assert catalog.kinds(blip) == {"caption": "captioner", "caption_crops": "crop-captioner"}
    assert list(catalog.kinds(blip2)) == ["caption", "answer", "caption_crops"]
    crops = catalog.resolve(str(tmp_path / "blip"), "caption_crops")
    assert (crops.family, crops.view) == ("crop-captioner", FAMILIES["crop-captioner"].view)
