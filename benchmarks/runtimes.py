"""Images a second of a YOLO on every engine of this machine, beside the ceiling that FLOPs set.

    python -m benchmarks.runtimes [--model starter-yolo-detect] [--side 640] [--formats …]

Exports the model in every format that can be written here, without measuring what it loses, and
times the networks alone, one after the other. The ceiling are the pictures a second if all of the
network ran at the rate of a large 3 x 3 convolution, one on each CPU at once. Takes about ten
minutes, and wants the machine to itself.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lakesight.exporting.formats import FORMATS, Wanted, parse
from lakesight.exporting.source import check_yolo
from lakesight.models import catalog
from lakesight.models.artefact import stage
from lakesight.models.base import Image, ModelCard
from lakesight.models.yolo.folder import Contract, write_card
from lakesight.models.yolo.model import in_order, open_way, reader_of
from lakesight.models.yolo.network import Network
from lakesight.models.yolo.reading import YoloOptions
from lakesight.runtimes.base import RuntimeOptions, usable_cpus
from lakesight.runtimes.speed import ROUNDS, seconds_of
from lakesight.scenes import generate
from workflows.benchmark import plain, print_table, with_exports
from workflows.timing import LARGE, Row, Verdict, measured, verdicts

CHANNELS, MAP_SIDE, CONVOLUTIONS = 256, 64, 20


def main() -> None:
    """Measure and print, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter-yolo-detect")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--formats", nargs="*", default=None)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    views = [generate(1, number, options.side).pixels for number in range(LARGE)]
    with exported(options.model, options.side, wanted(options.formats)) as card:
        rows = measured(card, views, options.seconds, run_code=True)
        print_table(card, rows)
        shares = [post_processing(card, row, views) for row in rows]
        found = verdicts(rows)
    flops, peaks = num_flops(card), {kind: peak_flops(kind) for kind in ("f32", "bf16")}
    figures = {
        "model": card.name,
        "side": options.side,
        "cpus": usable_cpus(),
        "gflops_a_picture": round(flops / 1e9, 2),
        "peak_gflops_s": {kind: round(peak / 1e9, 1) for kind, peak in peaks.items()},
        "ceiling_images_s": {kind: round(peak / flops, 1) for kind, peak in peaks.items()},
        "ways": [
            plain(row) | {"post_share": share} for row, share in zip(rows, shares, strict=True)
        ],
        "auto_is_fastest": {name: as_json(one) for name, one in found.items()},
    }
    print(json.dumps(figures))


def wanted(names: Sequence[str] | None) -> list[Wanted]:
    """Return the formats to compare: all that can be written here, in every precision."""
    if names is not None:
        return [parse(name) for name in names]
    here = [one for one in FORMATS.values() if one.missing() is None]
    return [Wanted(one, precision) for one in here for precision in one.precisions]


@contextmanager
def exported(model: str, side: int, formats: Sequence[Wanted]) -> Iterator[ModelCard]:
    """Yield the card of a copy of the model that takes pictures of that side, with its exports."""
    given = catalog.resolve(model)
    task = check_yolo(given).task
    assert given.view is not None
    view = given.view.model_copy(update={"width": side, "height": side})
    with tempfile.TemporaryDirectory(prefix="lakesight-runtimes-") as name:
        folder = Path(name)
        for file in given.sha256:
            (folder / file).write_bytes((stage(given) / file).read_bytes())
        write_card(folder, given.model_copy(update={"view": view, "artefacts": ()}))
        with with_exports(name, [one for one in formats if task in one.format.tasks]) as card:
            yield card


def num_flops(card: ModelCard) -> int:
    """Return the floating-point operations of a picture: two for each multiplication."""
    assert card.view is not None
    with torch.device("meta"):
        network = Network(Contract.model_validate(card.contract)).eval()
        pixels = torch.empty(1, 3, card.view.height, card.view.width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(pixels)
    return int(counter.get_total_flops())


def peak_flops(kind: str) -> float:
    """Return the operations a second of a large convolution on every CPU at once.

    By the time that each CPU really worked: what else runs does not lower it, but what they share
    does, as in a network.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(usable_cpus()) as threads:
        seconds = list(threads.map(seconds_of_convolution, [kind] * usable_cpus()))
    torch.set_num_threads(before)
    return sum(2 * 9 * CHANNELS**2 * MAP_SIDE**2 / best for best in seconds)


def seconds_of_convolution(kind: str) -> float:
    """Return the least time that this thread works on one, in seconds."""
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
    last: Any = {"memory_format": torch.channels_last}
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False).to(dtype).to(**last)
    pixels = torch.rand(1, CHANNELS, MAP_SIDE, MAP_SIDE).to(dtype).to(**last)
    best = float("inf")
    for _ in range(CONVOLUTIONS):
        start = time.thread_time()
        with torch.inference_mode():
            layer(pixels)
        best = min(best, time.thread_time() - start)
    return best


def post_processing(card: ModelCard, row: Row, views: Sequence[Image]) -> float | None:
    """Return the time from tensors to rows over that of the network, at the large batch."""
    if row.way is None or LARGE not in row.seconds or (row.artefact and row.artefact.suppressed):
        return None
    folder = stage(card)
    runtime = open_way(row.way, card, folder, RuntimeOptions(precision=row.precision))
    tensors = in_order(runtime.infer(views))
    reader = reader_of(card, folder, YoloOptions())
    side = views[0].shape[0]
    sizes = pa.table({"width": [side] * len(views), "height": [side] * len(views)})
    best = min(seconds_of(lambda: reader.read(tensors, sizes), 0.3) for _ in range(ROUNDS))
    return round(best / (row.seconds[LARGE] * LARGE), 4)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return what auto takes, which runtime was the fastest, and the ratio of their times."""
    taken, fastest = verdict.taken.way, verdict.fastest.way
    assert taken is not None
    assert fastest is not None
    ratio = round(verdict.ratio, 3)
    return {"auto": taken.engine.runtime, "fastest": fastest.engine.runtime, "ratio": ratio}


if __name__ == "__main__":
    main()
