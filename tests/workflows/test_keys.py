import json
import stat
from pathlib import Path

import pytest

from lakesight.online import key_file
from lakesight.online.keys import KEY
from workflows.__main__ import main


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "lakesight" / "keys" / "keys.json"


def test_a_key_is_made_and_shown_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "phone --model yolo --model blip --index photos --s3 s3://lake/in --rate 5 --expires 9w"
    assert main(["keys", "create", *words.split()]) == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    key = key_file.KeyFile(path).find(token, KEY)
    assert key is not None
    assert key.name == "phone"
    assert key.scopes.models == ("yolo", "blip")
    assert key.scopes.indexes == ("photos",)
    assert key.scopes.s3 == ("s3://lake/in/",)
    assert key.rate is not None
    assert (key.rate.per_s, key.rate.burst) == (5, 10)
    assert key.expires is not None
    assert (key.expires - key.created).days in (62, 63)
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in shown.err


def test_keys_are_listed_and_revoked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "one", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["keys", "create", "two"]) == 0
    capsys.readouterr()
    assert main(["keys"]) == 0
    listed = capsys.readouterr().out
    assert "one" in listed
    assert "two" in listed
    assert made["key"] not in listed
    assert made["key"].split("_", 2)[2] not in listed
    assert main(["keys", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["one", "two"]
    assert rows[0] | {"created": ""} == {
        "id": made["id"],
        "name": "one",
        "models": ["*"],
        "indexes": ["*"],
        "s3": [],
        "metrics": False,
        "rate": "any",
        "created": "",
        "ends": "never",
    }
    assert main(["keys", "revoke", made["id"]]) == 0
    assert capsys.readouterr().out == f"revoked {made['id']} (one)\n"
    assert key_file.KeyFile(path).find(made["key"], KEY) is None
    assert [key.name for key in key_file.read(path).keys] == ["two"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "x", "--s3", "lake/in"], "expected s3://bucket/"),
        (["create", "x", "--expires", "soon"], "expected 12h"),
        (["create", "x", "--burst", "3"], "give --rate"),
        (["create", ""], "name: "),
        (["create", "x", "--rate", "0"], "--create.rate: "),
        (["list"], "`lakesight keys create` makes one"),
        (["revoke", "0"], "`lakesight keys create` makes one"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_another_file(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other" / "k.json"
    assert main(["keys", "create", "x", "--keys", str(other)]) == 0
    assert [key.name for key in key_file.read(other).keys] == ["x"]
    assert not path.exists()
