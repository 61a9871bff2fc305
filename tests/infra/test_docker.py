"""The Dockerfiles by hadolint, and that their context holds what they install."""

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra/docker"
FILES = sorted(DOCKER.glob("Dockerfile*"))
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"


def hadolint(text: str) -> str:
    done = subprocess.run(
        [HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    assert hadolint(path.read_text()) == ""


def test_hadolint_would_find_an_untagged_base() -> None:
    assert "DL3006" in hadolint("FROM python\nUSER 1000\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_runs_as_nobody_special_with_pinned_versions(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^USER (.+)$", text, re.M) == ["1000:1000"]
    installs = re.findall(r"pip install (.+)", text)
    assert installs
    assert all("-c constraints.txt" in install for install in installs)
    assert "ADD " not in text


def test_head_and_gpu_workers_have_the_same_python() -> None:
    """Ray refuses a worker whose Python differs from the head's."""
    bases = {re.search(r"^ARG PYTHON_IMAGE=(.+)$", path.read_text(), re.M) for path in FILES}
    assert len({base and base[1] for base in bases}) == 1


def test_the_context_is_what_is_installed_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    kept = {line[1:] for line in lines if line.startswith("!")}
    metadata = project()["project"]
    packages = project()["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {pattern.rstrip("*") for pattern in packages}
    needed |= {metadata["readme"], *metadata["license-files"], "pyproject.toml", "constraints.txt"}
    assert lines[0] == "*"
    assert kept == needed
