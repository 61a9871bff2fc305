"""Cards of folders and of hub repositories; the hub is a small server that answers as it does."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import transformers

from lakesight.errors import UserError
from lakesight.lake.local import LocalStore
from lakesight.models import catalog
from lakesight.models.base import FolderSource, HubSource, Image, ModelCard, ModelSpec
from lakesight.models.hub import card_for
from lakesight.models.licences import check
from workflows.__main__ import main

from .hub_server import COMMIT, Hub

hf: Any = transformers  # typed only in part
Checkpoint = Callable[[str], Path]

KINDS = {
    "clip": ("embed", "image-text"),
    "siglip": ("embed", "image-text"),
    "siglip2": ("embed", "image-text"),
    "blip2-itc": ("embed", "image-text"),
    "blip": ("caption", "captioner"),
    "blip2-opt": ("caption", "captioner"),
    "blip2-t5": ("caption", "captioner"),
    "rt-detr-v2": ("detect", "detr"),
    "d-fine": ("detect", "detr"),
}
every = pytest.mark.parametrize("name", KINDS)


def card_of(folder: Path) -> ModelCard:
    card = card_for(str(folder))
    assert card is not None
    return card


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@every
def test_a_folder_becomes_a_card(name: str, checkpoint: Checkpoint) -> None:
    folder = checkpoint(name)
    card = card_of(folder)
    assert (card.name, (card.kind, card.family)) == (name, KINDS[name])
    assert card.source == FolderSource(uri=str(folder))
    assert card.sha256 == {path.name: sha256(path) for path in folder.iterdir()}
    side = 64 if card.kind == "detect" else 32
    assert card.view is not None
    assert (card.view.width, card.view.height) == (side, side)


def test_weights_are_read_once_until_they_change(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server looks its models up every few seconds, and weights may be gigabytes."""
    folder = tmp_path / "clip"
    shutil.copytree(checkpoint("clip"), folder)
    read: list[str] = []
    reader = LocalStore.reader

    def watched(store: LocalStore, key: str) -> Any:
        read.append(key)
        return reader(store, key)

    monkeypatch.setattr(LocalStore, "reader", watched)
    first, second = card_of(folder), card_of(folder)
    assert first == second
    assert sorted(read) == sorted(first.sha256)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert card_of(folder).sha256["config.json"] == sha256(folder / "config.json")
    assert read.count("model.safetensors") == 1


@every
def test_the_card_lists_all_that_the_model_opens(
    name: str,
    checkpoint: Checkpoint,
    pictures: Callable[..., list[Image]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    card = card_of(checkpoint(name))
    unasked = check(card, ["unknown", "opt-175b-licence"])
    spec = ModelSpec(card=card, licences_accepted=unasked)
    # The built model sees the staged folder, which holds the card's files and no others.
    model = catalog.build(ModelSpec.model_validate_json(spec.model_dump_json()))
    assert model.view == card.view
    (view,) = pictures(1, model.view.width, model.view.height)
    rows = pa.table({"width": [view.shape[1]], "height": [view.shape[0]]})
    values = model.predict([view], rows)
    assert (len(values), values.type) == (1, model.output.type)


@pytest.mark.parametrize(
    ("matter", "licence"),
    [
        ("license: apache-2.0", "Apache-2.0"),
        ("license: mit\nlanguage: en", "MIT"),
        ("license: [mit, cc-by-4.0]", "MIT AND CC-BY-4.0"),
        ("license: other\nlicense_name: apple-ascl", "apple-ascl"),
        ("license: bigscience-openrail-m", "bigscience-openrail-m"),
        ("language: en", "unknown"),
        ("license: [unclosed", "unknown"),
    ],
)
def test_the_licence_is_what_the_readme_states(
    matter: str, licence: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = tmp_path / "stated"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "README.md").write_text(f"---\n{matter}\n---\n# A model\n\nlicense: mpl\n")
    card = card_of(folder)
    assert card.licences.weights == licence
    assert "README.md" not in card.sha256


def test_opt_bars_commercial_use_and_flan_t5_does_not(checkpoint: Checkpoint) -> None:
    licences = {name: card_of(checkpoint(name)).licences for name in ("blip2-opt", "blip2-t5")}
    assert licences["blip2-opt"].language_model == "opt-175b-licence"
    assert licences["blip2-t5"].language_model == "Apache-2.0"
    assert card_of(checkpoint("blip")).licences.language_model is None
    with pytest.raises(UserError, match="opt-175b-licence"):
        check(card_of(checkpoint("blip2-opt")), ["unknown"])


def test_every_shard_of_the_weights_is_listed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    source, folder = checkpoint("clip"), tmp_path / "sharded"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    hf.CLIPModel.from_pretrained(source).save_pretrained(folder, max_shard_size="40KB")
    card = card_of(folder)
    shards = [name for name in card.sha256 if name.endswith(".safetensors")]
    assert len(shards) > 1
    assert "model.safetensors.index.json" in card.sha256
    assert card.sha256[shards[0]] == sha256(folder / shards[0])


def test_pickles_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin, a pickle, which is never opened"):
        card_of(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b'{"architectures": ["CL', "config.json is no readable JSON: Unterminated"),
        ("config.json", b"\xff\xfe\x00", "config.json is no readable JSON: "),
        ("config.json", b"[1, 2]", "config.json is to be a JSON object, but holds a list"),
        ("preprocessor_config.json", b"{", "preprocessor_config.json is no readable JSON: "),
        (
            "preprocessor_config.json",
            b"3",
            "preprocessor_config.json is to be a JSON object, but",
        ),
        ("processor_config.json", b"{", "processor_config.json is no readable JSON: "),
        ("model.safetensors.index.json", b"{", "model.safetensors.index.json is no readable JSON"),
        ("model.safetensors.index.json", b"{}", "model.safetensors.index.json has no weight_map"),
    ],
)
def test_a_file_that_was_cut_is_said_in_one_line(
    name: str,
    content: bytes,
    message: str,
    checkpoint: Checkpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(checkpoint("clip"), folder)
    if name.startswith("model."):
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    assert main(["models", "show", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"{folder}/{message}" in error
    assert error.count("\n") == 1


def test_an_architecture_that_nothing_here_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(UserError, match="is a LlamaForCausalLM, which nothing here can run"):
        card_of(tmp_path)


def test_the_name_of_a_folder_is_made_fit_for_a_card(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "My CLIP (v2)"
    shutil.copytree(checkpoint("clip"), folder)
    assert card_of(folder).name == "my-clip-v2"
    monkeypatch.chdir(folder)
    assert card_for(".") == card_of(folder)


def test_what_is_neither_hub_name_nor_checkpoint_has_no_card(tmp_path: Path) -> None:
    assert card_for("ssd-mobilenet-v2-coco") is None
    assert card_for(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["hf:google/siglip", "hf:google/siglip@main", "hf:google/siglip@"])
def test_a_hub_name_without_a_commit_says_how_to_pin(name: str) -> None:
    with pytest.raises(UserError, match="hf:google/siglip@ and the 40 hex digits"):
        card_for(name)


def test_a_malformed_hub_name_is_refused() -> None:
    with pytest.raises(UserError, match="expected hf:owner/repository@commit"):
        card_for("hf:siglip")


@pytest.fixture
def hub(checkpoint: Checkpoint, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "served"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with Hub("Lake/Tiny-CLIP", folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(code: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: the hub client reads its environment when imported."""
    places = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **places, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def import_card(name: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    code = f"from lakesight.models.hub import card_for; print(card_for({name!r}).model_dump_json())"
    return run(code, endpoint, home)


def test_a_hub_repository_becomes_a_card_without_fetching_its_weights(
    hub: Hub, tmp_path: Path
) -> None:
    result = import_card(f"hf:{hub.repo}@{COMMIT}", hub.endpoint, tmp_path / "home")
    assert result.returncode == 0, result.stderr
    card = ModelCard.model_validate_json(result.stdout)
    assert (card.name, card.kind, card.licences.weights) == ("tiny-clip", "embed", "MIT")
    assert card.source == HubSource(repo=hub.repo, revision=COMMIT)
    wanted = {"README.md", "pytorch_model.bin"} ^ {path.name for path in hub.folder.iterdir()}
    assert card.sha256 == {name: sha256(hub.folder / name) for name in wanted}
    assert not {"model.safetensors", "pytorch_model.bin"} & set(hub.sent)


def test_a_hub_name_is_fetched_checked_and_built(hub: Hub, tmp_path: Path) -> None:
    code = (
        "from lakesight.models import catalog\n"
        f"spec = catalog.spec('hf:{hub.repo}@{COMMIT}', 'embed')\n"
        "print(catalog.build(spec).embed_text(['a red bus']).shape)"
    )
    result = run(code, hub.endpoint, tmp_path / "home")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(1, 16)\n"
    assert "pytorch_model.bin" not in hub.sent


def test_a_hub_that_has_no_such_commit_is_a_users_mistake(hub: Hub, tmp_path: Path) -> None:
    result = import_card(f"hf:{hub.repo}@{'f' * 40}", hub.endpoint, tmp_path / "home")
    assert "UserError: cannot read hf:Lake/Tiny-CLIP@ffff" in result.stderr


def test_a_hub_out_of_reach_is_a_users_mistake(tmp_path: Path) -> None:
    result = import_card(f"hf:a/b@{COMMIT}", "http://127.0.0.1:9", tmp_path / "home")
    assert "UserError: cannot read hf:a/b@0123" in result.stderr
    assert "copy the folder here" in result.stderr


def test_a_folder_in_a_bucket_becomes_the_same_card_and_model(
    checkpoint: Checkpoint,
    s3_server: Any,
    new_bucket: Callable[[], str],
    pictures: Callable[..., list[Image]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder, bucket = checkpoint("blip2-t5"), new_bucket()
    for path in folder.iterdir():
        s3_server.client().upload_file(str(path), bucket, f"models/t5/{path.name}")
    card = card_of(folder)
    spec = catalog.spec(f"s3://{bucket}/models/t5/", "caption", {}, "auto", ["unknown"])
    assert spec.card.source == FolderSource(uri=f"s3://{bucket}/models/t5")
    assert spec.card.sha256 == card.sha256
    rows = pa.table({"prompt": ["a red"]})
    local = ModelSpec(card=card, options=spec.options, licences_accepted=("unknown",))
    remote, here = (catalog.build(one).predict(pictures(1), rows) for one in (spec, local))
    assert remote == here
