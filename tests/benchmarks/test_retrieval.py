"""The benchmark of reranking: it runs, and it notices another order."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.retrieval import TOLERANCE, agreement

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_both_ways_rank_the_same() -> None:
    words = ["--rows", "24", "--rerank", "12", "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", *words],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["queries_s"]) == {"ours", "rerun"}
    assert min(figures["queries_s"].values()) > 0
    assert figures["same_place"] > 0.5
    assert (figures["rows"], figures["rerank"]) == (24, 12)


def test_an_order_that_differs_is_noticed() -> None:
    anew = {"a": 3.0, "b": 2.0, "c": 2.0 - TOLERANCE / 2, "d": 1.0}
    assert agreement(["a", "b", "c", "d"], anew) == 1
    assert agreement(["a", "c", "b", "d"], anew) == 0.5  # of one score, nearly
    with pytest.raises(AssertionError, match="b is ranked before a"):
        agreement(["b", "a", "c", "d"], anew)
    with pytest.raises(AssertionError, match="the candidates are others"):
        agreement(["a", "b", "c", "e"], anew)
