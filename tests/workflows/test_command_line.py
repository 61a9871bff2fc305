"""What a user types arrives as it was typed."""

from pathlib import Path

import pytest

from tests.annotating import MODEL
from workflows.__main__ import main


@pytest.mark.parametrize(
    "value", ["ö?", "c:\\", "\\d", '"a", b', "['a, b', \"c\"", "7", "null", "a=b", "-"]
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_repeatable_flag_takes_any_text(
    value: str, joined: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = f"{value}.x=1"
    empty, output = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    (empty / "note.txt").touch()
    words = ["annotate", str(empty), str(output), "--detect", MODEL, "--set=other.x=1"]
    words += [f"--set={setting}"] if joined else ["--set", setting]
    assert main(words) == 2
    names = sorted([value.partition("=")[0].partition(".")[0], "other"])
    said = capsys.readouterr().err
    assert f"--set names {', '.join(names)};" in said or f"got {setting!r}" in said
