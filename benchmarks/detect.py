"""Pictures to detections: `lakesight annotate` beside a bare loop, Ray Data's guide and Daft.

    python -m benchmarks.detect [--count 5000] [--rounds 3] [--store disk|s3] [--folder DIR]

Every contender runs in a process of its own, start-up included, one after the other, round by
round; figures are medians over the rounds. Takes about twenty minutes a round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.contenders import CONTENDERS
from benchmarks.photos import make_photos
from lakesight.lake.store import Store
from workflows.s3_server import S3Server

Found = Mapping[str, list[dict[str, Any]]]
"""Detections by the name of the picture."""


def main() -> None:
    """Run all rounds and print the figures, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", choices=["disk", "s3"], default="disk")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lakesight")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS))
    options = parser.parse_args()
    photos = make_photos(options.folder / f"photos-{options.count}", options.count)
    with store(options.store, photos) as (source, output):
        seconds: dict[str, list[float]] = {name: [] for name in options.only}
        found: dict[str, Found] = {}
        for number in range(options.rounds):
            for name in options.only:
                target = f"{output}/{name}-{number}"
                seconds[name].append(run(name, source, target))
                print(f"round {number + 1}, {name}: {seconds[name][-1]:.1f} s", flush=True)
                found[name] = read(target)
                remove(target)
    print(json.dumps(figures(options.count, options.store, seconds, found)))


def run(name: str, source: str, output: str) -> float:
    """Return the wall time in seconds of one contender's process."""
    words = [sys.executable, "-m", "benchmarks.contenders", name, source, output]
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


@contextmanager
def store(kind: str, photos: Path) -> Iterator[tuple[str, str]]:
    """Yield where the photos are, and where outputs may go."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "disk":
            yield str(photos), folder
            return
        with S3Server(Path(folder)) as server:
            os.environ |= server.environment
            client = server.client()
            client.create_bucket(Bucket="benchmark")
            for path in sorted(photos.glob("*.jpg")):
                client.upload_file(str(path), "benchmark", f"photos/{path.name}")
            yield "s3://benchmark/photos", "s3://benchmark"


def read(output: str) -> Found:
    """Return what a contender wrote, by the name of the picture."""
    rows: dict[str, list[dict[str, Any]]] = {}
    files, prefix = Store.open(output)
    for page in files.list(prefix):
        for key in page["key"].to_pylist():
            if key.endswith(".parquet") and "_commits" not in key:
                with files.reader(key) as file:
                    for row in pq.read_table(file, columns=["uri", "detections"]).to_pylist():
                        rows[row["uri"].rpartition("/")[2]] = row["detections"] or []
    return rows


def remove(output: str) -> None:
    """Delete an output: the next one needs the room."""
    if not output.startswith("s3://"):
        shutil.rmtree(output)


def agreement(one: Found, other: Found) -> float:
    """Return the share of confident boxes (score 0.5) that both found: label, and IoU of 0.9.

    1 where outputs are equal; peers decode and resize in their own way, so boxes move a little.
    """
    assert one.keys() == other.keys(), f"{len(one)} and {len(other)} pictures"
    pairs = [
        (box, other[name]) for name, boxes in one.items() for box in boxes if box["score"] >= 0.5
    ]
    same = sum(any(_is_same(box, each) for each in candidates) for box, candidates in pairs)
    return same / len(pairs)


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["label"] != other["label"]:
        return False
    (x0, y0, x1, y1), (u0, v0, u1, v1) = one["box"], other["box"]
    shared = max(0.0, min(x1, u1) - max(x0, u0)) * max(0.0, min(y1, v1) - max(y0, v0))
    union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - shared
    return bool(shared / union > 0.9)


def figures(
    count: int, kind: str, seconds: Mapping[str, list[float]], found: Mapping[str, Found]
) -> dict[str, Any]:
    """Return the figures: images/s by contender, and ours against the floor and the best peer."""
    rates = {name: round(count / statistics.median(each), 2) for name, each in seconds.items()}
    peers = {name: rate for name, rate in rates.items() if name not in ("ours", "floor")}
    reference = found.get("floor", {})
    return {
        "benchmark": "detect",
        "store": kind,
        "images": count,
        "images_per_s": rates,
        "seconds": {name: [round(each, 1) for each in all_] for name, all_ in seconds.items()},
        "equal_to_floor": found.get("ours") == reference,
        "agreement_with_floor": {
            name: round(agreement(reference, each), 3) for name, each in found.items()
        },
        "of_floor": round(rates["ours"] / rates["floor"], 3),
        "over_best_peer": round(rates["ours"] / max(peers.values()), 2) if peers else None,
    }


if __name__ == "__main__":
    main()
