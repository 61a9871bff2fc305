"""The benchmark of counting and tracing runs. No test looks at the time."""

import json

import pytest

from benchmarks.following import main


def test_it_counts_traces_and_scrapes(capsys: pytest.CaptureFixture[str]) -> None:
    figures = main(["--requests", "5", "--models", "2"])
    assert figures == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["series"] > 100
    assert figures["scrape_bytes"] > 10_000
