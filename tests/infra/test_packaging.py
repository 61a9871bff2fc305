"""What pip installs for each extra, and how the GPU twins take the place of the CPU packages.

pip resolves `lakesight[gpu]` as `lakesight` plus what the extra adds, so a dependency marked
`extra != 'gpu'` is installed all the same (tried with pip 23.2 and 26.3). Hence the second step in
Dockerfile.gpu and ray_cluster.yaml.
"""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [ROOT / "infra/docker/Dockerfile.gpu", ROOT / "ray_cluster.yaml"]
TWINS = {"faiss-gpu": "faiss-cpu", "onnxruntime-gpu": "onnxruntime"}
"""Both of a pair own the same import name."""


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return loaded


def installed(*extras: str) -> set[str]:
    """Return the names that pip installs: a marker counts if it holds for no extra or for one."""
    named = [(Requirement(text), "") for text in project()["dependencies"]]
    for extra in extras:
        named += [(Requirement(t), extra) for t in project()["optional-dependencies"][extra]]
    return {
        canonicalize_name(requirement.name)
        for requirement, extra in named
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }


def words_after(recipe: Path, command: str) -> set[str]:
    text = re.sub(r"\\\n|\n +", " ", recipe.read_text())
    (line,) = re.findall(rf"pip {command} ([^;&\n]+)", text)
    return {word for word in line.split() if re.fullmatch(r"[a-z][a-z-]*", word)}


def test_the_cpu_packages_come_by_default() -> None:
    assert set(TWINS.values()) <= installed()
    assert set(TWINS.values()) <= installed("photos")


@pytest.mark.parametrize("extras", [("gpu",), ("gpu", "photos")])
def test_the_gpu_extra_alone_leaves_the_cpu_twins_in(extras: tuple[str, ...]) -> None:
    assert set(TWINS.values()) <= installed(*extras)


def test_the_gpu_extra_adds_the_gpu_twins() -> None:
    assert set(TWINS) <= installed("gpu")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipes_swap_every_twin(recipe: Path) -> None:
    assert words_after(recipe, "uninstall") == set(TWINS.values())
    assert words_after(recipe, "install [^;&\n]*--force-reinstall") == set(TWINS)


def test_the_wheel_holds_every_file_that_is_no_module() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    data = tool["package-data"]
    for package in ("lakesight", "workflows", "actors", "indexes"):
        others = {
            path.relative_to(ROOT / package).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"}
        }
        named = {name for name in others for glob in data.get(package, []) if fnmatch(name, glob)}
        assert others == named, package
