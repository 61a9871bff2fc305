"""Files that are whole or as they were, and folders that one process at a time writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from lakesight.errors import UserError
from lakesight.files import locked, whole, write_whole


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    write_whole(path, "first")

    def cut() -> None:
        with whole(path) as part:
            part.write_text("sec")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cut()
    assert [each.name for each in tmp_path.iterdir()] == ["one.txt"]
    assert path.read_text() == "first"


def test_two_may_write_the_same_file_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    with whole(path) as first:
        first.write_text("first")
        with whole(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["one.txt"]


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    code = (
        "import sys\nfrom pathlib import Path\nfrom lakesight.files import locked\n"
        "with locked(Path(sys.argv[1]), 'busy'):\n print('held', flush=True)\n sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="somebody is here"), locked(folder, "somebody is here"):
            pass
        holder.kill()
    with locked(folder, "somebody is here"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="got the file"), locked(tmp_path / "file", ""):
        pass
