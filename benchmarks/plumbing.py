"""What the plumbing costs: tiny pictures and a model that does nothing, and the rerun of a million.

    python -m benchmarks.plumbing [--counts 1000 10000 100000] [--keys 1000000] [--folder DIR]

Peak memory is the sum over the driver and everything that it started, sampled twice a second.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.nothing import make_nothing
from benchmarks.photos import make_specks
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.media.limits import Limits
from lakesight.models import catalog
from workflows.annotate import rows_per_file


def main() -> None:
    """Run every size and print the figures, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lakesight")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model = make_nothing(options.folder / "nothing")
    sizes = []
    for count in options.counts:
        source = make_specks(options.folder / f"specks-{count}", count)
        sizes.append(annotate(source, count, model))
        print(sizes[-1], flush=True)
    rerun = no_op(options.folder, options.keys, model) if options.keys else None
    print(json.dumps({"benchmark": "plumbing", "sizes": sizes, "no_op": rerun} | growth(sizes)))


def annotate(source: Path, count: int, model: str) -> dict[str, Any]:
    """Return time and memory of one job over `count` tiny pictures."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/seen"
        words = [str(source), output, "--detect", model, "--json"]
        seconds, peak = measure(words, Path(folder) / "record")
        record = json.loads((Path(folder) / "record").read_text())
        assert record["rows"] == count
        assert not record["errors"]
    return {
        "objects": count,
        "seconds": round(seconds, 1),
        "pipeline_seconds": round(record["seconds"], 1),
        "objects_per_s": round(count / seconds, 1),
        "ms_per_object": round(1000 * seconds / count, 3),
        "peak_mib": round(peak / 2**20),
    }


def no_op(folder: Path, count: int, model: str) -> dict[str, Any]:
    """Return time and memory of a rerun over `count` keys of which none is new.

    The keys come as a Parquet list with etags; their rows are taken as written, because the rerun
    never reads a row.
    """
    keys = folder / f"keys-{count}.parquet"
    numbers = pa.array(range(count))
    uris = [f"s3://lake/photos/{number:09}.jpg" for number in range(count)]
    etags = [f'"{number:032x}"' for number in range(count)]
    pq.write_table(pa.table({"uri": uris, "etag": etags, "size": numbers}), keys)
    target = folder / f"no-op-{count}"
    shutil.rmtree(target, ignore_errors=True)
    output = Output.open(str(target))
    spec = catalog.spec(model, "detect")
    limits = Limits().model_dump(mode="json")
    output.bind({"models": [spec.model_dump(mode="json")], "limits": limits})
    start = time.perf_counter()
    output.plan(Source(uri=str(keys)), partial(rows_per_file, [spec], None))
    first = time.perf_counter() - start
    (target / "data").mkdir()
    for piece in output.pieces():
        (target / "data" / f"{piece.name}.parquet").touch()
    seconds, peak = measure([str(keys), str(target), "--detect", model], folder / "said")
    return {
        "keys": count,
        "first_plan_seconds": round(first, 1),
        "seconds": round(seconds, 1),
        "peak_mib": round(peak / 2**20),
        "said": (folder / "said").read_text().strip().splitlines()[-1],
    }


def measure(words: Sequence[str], printed: Path) -> tuple[float, int]:
    """Run `annotate` with these words; return seconds, and the peak of memory in bytes."""
    start = time.perf_counter()
    with printed.open("w") as out:
        command = [sys.executable, "-m", "workflows", "annotate", *words]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)))
            time.sleep(0.5)
    assert process.returncode == 0, f"exit code {process.returncode}"
    return time.perf_counter() - start, peak


def memory(process: psutil.Process) -> int:
    """Return the unshared memory of a process and all below it, in bytes."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def growth(sizes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how time per object and memory grow from the second largest size to the largest."""
    if len(sizes) < 2:
        return {}
    small, large = sizes[-2:]
    return {
        "ms_per_object_growth": round(large["ms_per_object"] / small["ms_per_object"], 3),
        "peak_growth": round(large["peak_mib"] / small["peak_mib"], 3),
    }


if __name__ == "__main__":
    main()
