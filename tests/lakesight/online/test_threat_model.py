import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
PAGE = (ROOT / "docs" / "threat-model.md").read_text()


def test_every_threat_has_an_answer_and_tests_that_are_there() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if row[0] != "| threat"]
    assert len(threats) > 40
    for row in threats:
        assert len(row) == 3, row
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row[2])
        assert named, f"no test shows {row[0]}"
        for file, test in named:
            path = ROOT / file if "/" in file else HERE / file
            assert path.exists(), file
            names = functions(path)
            assert not test or test in names, f"{file} has no {test}"


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
