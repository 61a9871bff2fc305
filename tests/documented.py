"""The examples of the docs, to be run by tests."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def documented(word: str, page: str = "training.md") -> str:
    """Return the one block of code of a page that has the word in it."""
    blocks = re.findall(r"^```\w+\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return str(found)
