"""The command line as a process of its own, and the oracle of an output; for several tests."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

import lakesight
from lakesight.lake.output import Output
from lakesight.lake.store import Store

MODEL = "ssd-mobilenet-v2-coco"
SHARED: dict[str, str] = {}
"""The environment of who joins the cluster that tests share, where one is there (`shared_ray`)."""


def picture(seed: int) -> Image.Image:
    """Return a small picture of a few coloured rectangles, another one for every seed."""
    rng = np.random.default_rng(seed)
    pixels = np.full((120, 160, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(4):
        x, y = rng.integers(0, 120), rng.integers(0, 90)
        pixels[y : y + 30, x : x + 40] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def command(*words: str) -> list[str]:
    """Return the words that run `lakesight` from the checkout."""
    return [sys.executable, "-m", "workflows", *words]


def start(*words: str) -> "subprocess.Popen[str]":
    """Start `lakesight`; its process group can be killed without touching anything else."""
    return subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(
    condition: Callable[[], object], process: "subprocess.Popen[str]", limit_s: float = 200
) -> None:
    """Wait until something holds, which a process that was started brings about."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, f"it ended first: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(*words: str, code: int = 0, **environment: str) -> str:
    """Run `lakesight` to its end, expect an exit code, and return what it printed.

    On the cluster that tests share, if any: but what its workers must see of an `environment` they
    would not see there.
    """
    done = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | (environment or SHARED),
        check=False,
    )
    assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def manifest_keys(output: str) -> Counter[tuple[str, str]]:
    """Return every (uri, etag) that the output's manifest promises."""
    out = Output.open(output)
    rows = (
        row
        for piece in out.pieces()
        for row in out.read_piece(piece).select(["uri", "etag"]).to_pylist()
    )
    return Counter((row["uri"], row["etag"]) for row in rows)


def committed_keys(output: str) -> Counter[tuple[str, str]]:
    """Return every (uri, etag) that a reader of the output sees."""
    rows = lakesight.open(output).dataset().to_table(columns=["uri", "etag"]).to_pylist()
    return Counter((row["uri"], row["etag"]) for row in rows)


def globbed_keys(output: str) -> Counter[tuple[str, str]]:
    """Return every (uri, etag) of the Parquet files under `data/`, whatever the manifest says."""
    store, prefix = Store.open(output)
    keys: Counter[tuple[str, str]] = Counter()
    for page in store.list(f"{prefix}/data" if prefix else "data"):
        for key in page["key"].to_pylist():
            with store.reader(key) as file:
                rows = pq.read_table(file, columns=["uri", "etag"]).to_pylist()
            keys.update((row["uri"], row["etag"]) for row in rows)
    return keys


def assert_exactly_once(output: str, num_expected: int) -> None:
    """Check that nothing is lost, doubled or made up: by manifest, by reader, and by raw glob."""
    promised = manifest_keys(output)
    assert len(promised) == num_expected
    assert set(promised.values()) == {1}
    assert committed_keys(output) == promised
    assert globbed_keys(output) == promised
