"""What a machine of a cluster is given, so that `serve deploy` there is as safe as `serve`."""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest
import ray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lakesight.online.access import AccessSettings
from lakesight.online.guard import SafetySettings, at_the_door
from tests.http_server import running
from workflows.__main__ import main

CONSTANTS = Path(ray.__file__).parent / "serve/_private/constants.py"


def test_it_prints_variables_that_ray_serve_reads(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="ls-", dir="/tmp") as folder:
        assert main(["ingress", f"{folder}/n"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert all(re.fullmatch(r"export \w+=.*", line) for line in lines)
        said = {name: value for name, _, value in (line[7:].partition("=") for line in lines)}
        known = CONSTANTS.read_text()
        assert [name for name in said if "SERVE" in name and f'"{name}"' not in known] == []
        door = SafetySettings.model_validate_json(shlex.split(said["LAKESIGHT_DOOR"])[0])
        assert answered_at(door, {"host": "models.example.org"}, "/v1/models") == 200
        program = Path(shlex.split(said["RAY_SERVE_HAPROXY_BINARY_PATH"])[0])
        assert (program.parent.stat().st_mode & 0o777, program.stat().st_mode & 0o777) == (
            0o700,
            0o700,
        )
        other = Path(folder) / "other.cfg"
        other.write_text("defaults\n    mode http\nfrontend f\n    bind *:8404\n    bind *:80\n")
        ended = subprocess.run([program, "-c", "-f", other], capture_output=True, text=True)
        assert ended.returncode == 1
        assert "configures HAProxy in a new way" in ended.stderr


def answered_at(settings: SafetySettings, headers: dict[str, str], path: str) -> int:
    """Return what a request gets at a door, behind which everything is answered."""

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    with running(at_the_door(behind, settings)) as address:
        return httpx.get(address + path, headers=headers).status_code


def test_haproxy_finds_a_closed_door_healthy() -> None:
    """It asks without a Host; without keys a server answers to its own names alone."""
    own = SafetySettings(access=AccessSettings(keys=None))
    assert answered_at(own, {"host": ""}, "/-/healthz") == 200
    assert answered_at(own, {"host": "models.example.org"}, "/v1/models") == 421


def test_a_long_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingress", str(tmp_path / ("x" * 40))]) == 2
    assert "36 characters at most" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_may_write_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray runs the program in it."""
    with tempfile.TemporaryDirectory(prefix="ls-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        assert main(["ingress", folder]) == 2
        assert "not for you alone" in capsys.readouterr().err
        assert main(["ingress", "/proc/none"]) == 2
        assert "cannot make /proc/none" in capsys.readouterr().err
