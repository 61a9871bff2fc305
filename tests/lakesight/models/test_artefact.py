"""From a source to checked files: what is missing, changed, or outside is refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lakesight
from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.models import catalog
from lakesight.models.artefact import read_labels, sha256_of, stage, weights_file
from lakesight.models.base import FolderSource, Licences, ModelCard, PackageSource
from lakesight.models.look import look
from lakesight.models.yolo_import import Answers, import_yolo

from .onnx_files import COLOURS, write_convolution, write_yolo


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is fetched in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def card(source: Any, digests: dict[str, str], **fields: Any) -> ModelCard:
    return ModelCard(
        name="mine",
        kind="detect",
        family="yolo-onnx",
        source=source,
        sha256=digests,
        licences=Licences(weights="MIT", data="unknown"),
        provenance="written by a test",
        **fields,
    )


def folder_with(folder: Path, **files: bytes) -> tuple[FolderSource, dict[str, str]]:
    """Write files; return the source and their digests by hashlib."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return FolderSource(uri=str(folder)), digests


def test_a_staged_folder_holds_the_listed_files_only(tmp_path: Path) -> None:
    source, digests = folder_with(tmp_path / "m", weights=b"1", labels=b"2", stranger=b"3")
    del digests["stranger"]
    staged = stage(card(source, digests))
    assert sorted(path.name for path in staged.iterdir()) == ["labels", "weights"]
    assert (staged / "weights").read_bytes() == b"1"
    assert stage(card(source, digests)) == staged


def test_a_changed_file_is_refused_with_both_digests(tmp_path: Path) -> None:
    source, digests = folder_with(tmp_path / "m", weights=b"1")
    (tmp_path / "m" / "weights").write_bytes(b"changed")
    wrong = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(UserError, match=f"expected sha256 {digests['weights']}, got {wrong}"):
        stage(card(source, digests))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    source, digests = folder_with(tmp_path / "m", weights=b"1")
    (tmp_path / "m" / "weights").unlink()
    with pytest.raises(UserError, match="weights is missing"):
        stage(card(source, digests))
    with pytest.raises(UserError, match="lists no sha256"):
        stage(card(source, {}))
    package = PackageSource(package="no_such_package", install="pip install 'lakesight[photos]'")
    with pytest.raises(UserError, match=r"not installed: pip install 'lakesight\[photos\]'"):
        stage(card(package, digests))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b"])
def test_a_card_reaches_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    source, _ = folder_with(tmp_path / "m")
    with pytest.raises(UserError, match="inside its folder"):
        stage(card(source, {name: "0" * 64}))


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, digests = folder_with(tmp_path / "m", weights=b"1")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Set XDG_CACHE_HOME to a folder that can be written"):
        stage(card(source, digests))


def test_labels_that_nobody_checked_are_not_read(tmp_path: Path) -> None:
    source, digests = folder_with(tmp_path / "m", weights=b"1", labels=b"cat\ndog\n")
    whole = card(source, digests, labels="labels")
    assert read_labels(whole, stage(whole)) == ("cat", "dog")
    part = card(source, {"weights": digests["weights"]}, labels="labels")
    with pytest.raises(UserError, match="no sha256 for its labels"):
        read_labels(part, tmp_path / "m")


def test_external_tensors_need_a_digest_too(tmp_path: Path) -> None:
    weights = np.ones((1, 3, 8, 8), np.float32)
    path = write_convolution(tmp_path / "m.onnx", weights, 8, external="m.data")
    listed = {"m.onnx": sha256_of(path), "m.data": sha256_of(tmp_path / "m.data")}
    source = FolderSource(uri=str(tmp_path))
    both = card(source, listed)
    assert weights_file(both, stage(both)) == path
    one = card(source, {"m.onnx": listed["m.onnx"]})
    with pytest.raises(UserError, match=r"keeps tensors in m\.data, which the card lists no"):
        weights_file(one, stage(one))


def test_a_model_folder_on_s3_is_fetched_once_and_checked(
    new_bucket: Callable[[], str], tmp_path: Path, cache: Path
) -> None:
    path = write_yolo(tmp_path / "colours.onnx", "v8")
    import_yolo(path, tmp_path / "model", Answers(licence="MIT", labels=COLOURS))
    uri = f"s3://{new_bucket()}/models/colours"
    store, prefix = Store.open(uri)
    for file in (tmp_path / "model").iterdir():
        store.put(f"{prefix}/{file.name}", file.read_bytes())
    image = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    expected = look(lakesight.load(str(tmp_path / "model")).model, [image])
    spec = catalog.spec(uri, "detect")
    assert spec.card.source == FolderSource(uri=uri)
    assert look(catalog.build(spec), [image]).equals(expected)
    store.put(f"{prefix}/model.onnx", b"other bytes")
    assert look(catalog.build(spec), [image]).equals(expected)  # from the cache
    (fetched,) = (path for path in cache.rglob("model.onnx") if not path.is_symlink())
    fetched.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model\.onnx is not the file that its card describes"):
        catalog.build(spec)
    store.delete(f"{prefix}/model.onnx")
    with pytest.raises(UserError, match=r"has no model\.onnx, which its card lists"):
        catalog.build(spec)


def test_an_empty_s3_prefix_is_no_model(new_bucket: Callable[[], str]) -> None:
    with pytest.raises(UserError, match="no model is called"):
        catalog.resolve(f"s3://{new_bucket()}/nothing/here")
