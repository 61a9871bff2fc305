"""METEOR and SPICE run in Java, by the programs that the PyPI package pycocoevalcap brings."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from lakesight.errors import UserError

JavaMetric = Literal["meteor", "spice"]

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""What SPICE parses with: GPL, 0.4 GB, not part of the package."""


def check_java(metric: JavaMetric) -> None:
    """Raise UserError where something is missing that a metric needs."""
    if metric not in ("meteor", "spice"):
        raise UserError(f"extra metrics are 'meteor' and 'spice', but got {metric!r}")
    if shutil.which("java") is None:
        raise UserError(
            f"{metric} runs in Java, and there is no `java`: install a Java runtime "
            "(Debian: `apt-get install default-jre-headless`)"
        )
    if metric == "meteor":
        meteor_jar()
    else:
        spice_jars()


def meteor_jar() -> Path:
    """Return METEOR 1.5; UserError where it is missing."""
    return _folder("meteor") / "meteor-1.5.jar"


def spice_jars() -> list[Path]:
    """Return SPICE 1.0 and all that it needs; UserError where something is missing."""
    folder = _folder("spice")
    library = folder / "lib"
    missing = [name for name in CORENLP if not (library / name).exists()]
    if missing:
        raise UserError(
            f"SPICE parses with Stanford CoreNLP 3.6.0 (GPL), and {library} has no "
            f"{' and no '.join(missing)}: put them there from stanford-corenlp-full-2015-12-09.zip "
            "of nlp.stanford.edu/software, or let the package download it: `python -c 'from "
            "pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()'`"
        )
    return [folder / "spice-1.0.jar", *sorted(library.glob("*.jar"))]


def run_java(*arguments: str, text: str = "") -> str:
    """Return what a Java program prints, given `text` to read; UserError where it fails."""
    done = subprocess.run(
        ["java", *arguments], input=text, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise UserError(f"java ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _folder(metric: JavaMetric) -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"please install the extra `captions` to use {metric}: "
            "`pip install 'lakesight[captions]'`"
        )
    return Path(found.submodule_search_locations[0]) / metric
