"""What holds the tree together: who imports whom, who owns the names, what is documented."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "lakesight": {"lakesight"},
    "indexes": {"indexes", "lakesight"},
    "actors": {"actors", "lakesight"},
    "workflows": {"workflows", "actors", "indexes", "lakesight"},
}
"""What each package may import of ours; the arrows of docs/architecture.md."""

MAY_IMPORT_RAY = {"workflows", "actors"}
FORBIDDEN = {"torchvision", "ultralytics"}
"""torchvision breaks beside the CPU build of torch; ultralytics is AGPL-3.0."""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


MODULES = [(package, path) for package in ALLOWED for path in modules(package)]
IDS = [path.relative_to(ROOT).as_posix() for _, path in MODULES]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level name of every import, those inside functions and by string included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(func) in {"__import__", "import_module", "importlib.import_module"}:
                    yield name.split(".")[0]


def complaints(package: str, source: str) -> list[str]:
    """Return what a module of `package` imports and must not."""
    names = set(imported(ast.parse(source)))
    wrong = (names & set(ALLOWED)) - ALLOWED[package] | (names & FORBIDDEN)
    if package not in MAY_IMPORT_RAY:
        wrong |= names & {"ray"}
    return sorted(wrong)


@pytest.mark.parametrize(("package", "path"), MODULES, ids=IDS)
def test_imports_point_one_way(package: str, path: Path) -> None:
    assert complaints(package, path.read_text()) == []


@pytest.mark.parametrize(
    ("package", "source", "wrong"),
    [
        ("lakesight", "import ray", ["ray"]),
        ("lakesight", "def f():\n    from ray.data import Dataset", ["ray"]),
        ("lakesight", "import importlib\nimportlib.import_module('ray.data')", ["ray"]),
        ("lakesight", "from actors import pixels", ["actors"]),
        ("indexes", "import actors.stage", ["actors"]),
        ("actors", "if True:\n    import indexes", ["indexes"]),
        ("actors", "import workflows", ["workflows"]),
        ("workflows", "import torchvision.ops", ["torchvision"]),
        ("workflows", "import ray, actors, indexes, lakesight", []),
        ("lakesight", "from .schemas import ROW\nimport raytracer", []),
    ],
)
def test_a_wrong_import_is_found(package: str, source: str, wrong: list[str]) -> None:
    assert complaints(package, source) == wrong


@pytest.mark.parametrize("path", [path for _, path in MODULES], ids=IDS)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_no_other_distribution_owns_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in ALLOWED:
        assert set(owners.get(package, [])) <= {"lakesight"}, (
            f"another distribution installs {package!r}: `python -m workflows` would run its code"
        )


def test_every_command_is_documented() -> None:
    from workflows.__main__ import COMMANDS

    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages if page.exists())
    missing = [name for name in COMMANDS if not re.search(rf"lakesight {re.escape(name)}\b", text)]
    assert missing == [], "commands that no page of README.md and docs/*.md mentions"


def test_the_licence_is_the_whole_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License\n")
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text
