"""SPICE, arXiv:1607.08822: whether a caption names the objects, attributes and relations."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lakesight.errors import UserError
from lakesight.metrics.language.java import run_java, spice_jars
from lakesight.metrics.objects import Floats


def spice(
    captions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Floats:
    """Return the F of each caption, `(N,)`; NaN where neither side says anything that counts.

    Parses every sentence: minutes for some hundred pictures; needs 8 GB.
    """
    asked = [
        {
            "image_id": number,
            "test": " ".join(caption),
            "refs": [" ".join(words) for words in texts],
        }
        for number, (caption, texts) in enumerate(zip(captions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "captions.json"), Path(folder, "scores.json")
        source.write_text(json.dumps(asked))
        jars = os.pathsep.join(map(str, spice_jars()))
        options = ("-Xmx8G", "-cp", jars, "edu.anu.spice.SpiceScorer", str(source))
        run_java(*options, "-out", str(target), "-silent")
        found = json.loads(target.read_text())
    return scores_of(found, len(asked))


def scores_of(found: list[dict[str, Any]], count: int) -> Floats:
    """Return the scores `(count,)` of what the program wrote."""
    by_number = {one["image_id"]: one["scores"]["All"]["f"] for one in found}
    if sorted(by_number) != list(range(count)):
        raise UserError(f"SPICE was asked for {count} captions, but judged {len(by_number)}")
    scores = [by_number[number] for number in range(count)]
    return np.array([np.nan if score is None else float(score) for score in scores])
