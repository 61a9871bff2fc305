"""Requests a second of the server, beside the bare model and beside a plain FastAPI app.

    python -m benchmarks.serve [--kinds detect embed] [--clients 1 16 64] [--rounds 3]

*bare* is the model in a loop over batches, its pictures decoded and drawn before: the ceiling.
*loop* decodes and draws them as well, ahead of the model, in threads. *ours* is `lakesight serve`,
with what `auto` takes here, *ours_onnxruntime* with the engine of the peer; *fastapi* is
`benchmarks.fastapi_peer`, for each number of clients with whichever workers and threads answer the
most. Clients are those of `wrk` (Debian: `apt install wrk`), which runs on the same cores, and send
one JPEG a request. What is answered is compared first: ours with what the model gives in this
process, the peer's with ours. Contenders take turns, and each runs alone; figures are medians of
the rounds.

detect is starter-yolo-detect, embed a BLIP-2 of random weights (a ViT of 12 x 384 at 224 px); both
are exported to ONNX. The pictures are generated scenes, which the detector knows. Goals: with the
most clients at least 0.85 of the ceiling and 1.5 times FastAPI, with the fewest at most 5 ms over
the bare model.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from benchmarks.agreement import compared
from benchmarks.served import MAKERS, OPTIONS, drawn
from benchmarks.servers import Start, ours, peer, ways
from lakesight.errors import UserError
from lakesight.media.decode import Decoded, decode
from lakesight.media.limits import Limits
from lakesight.models import catalog
from lakesight.models.base import Kind, Model
from lakesight.online.offers import Serving
from lakesight.runtimes.base import usable_cpus

BATCH = int(Serving.model_fields["max_batch"].default)
"""Pictures of one call, as the server has them."""


class Asked(NamedTuple):
    """What `wrk` saw."""

    requests_s: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measure and print, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kinds", nargs="*", choices=("detect", "embed"), default=("detect", "embed")
    )
    parser.add_argument("--clients", type=int, nargs="*", default=(1, 16, 64))
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise UserError("the clients are wrk's, which is not here: apt install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = drawn(folder)
        made = {kind: MAKERS[kind](folder) for kind in options.kinds}
        figures = {kind: measured(folder, kind, made, script, options) for kind in options.kinds}
    print(json.dumps({"cpus": usable_cpus(), **vars(options), **figures}))


def measured(
    folder: Path, kind: Kind, made: Mapping[str, Path], script: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the figures of one kind of model."""
    files = sorted((folder / "pictures").glob("*.jpg"))
    model = catalog.build(
        catalog.spec(str(made[kind]), kind, options=OPTIONS[kind], licences_accepted=("unknown",)),
        usable_cpus(),
    )
    bare, loop, alone = in_process(model, files, options.seconds)
    most = max(options.clients)
    mine = {
        "ours": ours(made[kind], kind),
        "ours_onnxruntime": ours(made[kind], kind, "onnxruntime"),
    }
    with mine["ours"]() as url, peer(made[kind], kind, ways()[0])() as theirs:
        agreement = compared(kind, model, files, url, theirs)
    seconds = options.seconds
    tried = {
        way: by_clients(peer(made[kind], kind, way), script, options.clients, seconds)
        for way in ways()
    }
    best = {
        count: max(tried, key=lambda way: tried[way][count].requests_s) for count in options.clients
    }
    found: dict[str, dict[int, list[Asked]]] = {
        name: {count: [] for count in options.clients} for name in (*mine, "fastapi")
    }
    for _ in range(options.rounds):
        turns = [(name, start, options.clients) for name, start in mine.items()]
        for way in dict.fromkeys(best.values()):
            counts = [count for count in options.clients if best[count] == way]
            turns.append(("fastapi", peer(made[kind], kind, way), counts))
        for name, start, counts in turns:
            for count, answer in by_clients(start, script, counts, seconds).items():
                found[name][count].append(answer)
                print(f"{kind} {name} {count} clients: {answer}", flush=True)
    medians = {
        name: {count: middle(all_) for count, all_ in by.items()} for name, by in found.items()
    }
    top = {name: by[most].requests_s for name, by in medians.items()}
    over_bare_ms = medians["ours"][min(options.clients)].p50_ms - 1e3 * alone
    return {
        "reached": {
            "0.85 of the ceiling": top["ours"] >= 0.85 * bare,
            "1.5 times FastAPI": top["ours"] >= 1.5 * top["fastapi"],
            "1.5 times FastAPI by its engine": top["ours_onnxruntime"] >= 1.5 * top["fastapi"],
            "5 ms over the bare model": over_bare_ms <= 5,
        },
        "bare_images_s": round(bare, 1),
        "loop_images_s": round(loop, 1),
        "bare_alone_ms": round(1e3 * alone, 2),
        "runs_on": model.runs_on,
        "fastapi_tried": {
            str(way): {n: one.requests_s for n, one in by.items()} for way, by in tried.items()
        },
        "of_bare": round(top["ours"] / bare, 3),
        "of_loop": round(top["ours"] / loop, 3),
        "times_fastapi": round(top["ours"] / top["fastapi"], 3),
        "times_fastapi_by_its_engine": round(top["ours_onnxruntime"] / top["fastapi"], 3),
        "over_bare_ms": round(over_bare_ms, 2),
        "peer_agrees": agreement,
        **{name: {n: one._asdict() for n, one in by.items()} for name, by in medians.items()},
    }


def middle(every: Sequence[Asked]) -> Asked:
    """Return the medians of some rounds."""
    return Asked(*(round(statistics.median(values), 2) for values in zip(*every, strict=True)))


def by_clients(start: Start, script: Path, counts: Sequence[int], seconds: int) -> dict[int, Asked]:
    """Return what each number of clients saw of a server, which is started for them."""
    with start() as url:
        return {count: asked(url, script, count, seconds) for count in counts}


def in_process(model: Model, files: Sequence[Path], seconds: float) -> tuple[float, float, float]:
    """Return pictures a second of the model alone, and with decoding; and the seconds of one."""
    every = [path.read_bytes() for path in files]
    limits = Limits()

    def read(data: bytes) -> Decoded:
        return decode(data, [model.view], limits)

    def rows(batch: Sequence[Decoded]) -> pa.Table:
        return pa.table(
            {"width": [one.width for one in batch], "height": [one.height for one in batch]}
        )

    def see(batch: Sequence[Decoded]) -> None:
        model.predict([one.views[0] for one in batch], rows(batch))

    ready = [read(data) for data in every][:BATCH]
    bare = len(ready) / median_of(lambda: see(ready), seconds)
    alone = median_of(lambda: see(ready[:1]), seconds / 3)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        count, start, coming = 0, time.perf_counter(), cycle(every)
        waiting = deque(pool.submit(read, next(coming)) for _ in range(2 * BATCH))
        while (took := time.perf_counter() - start) < seconds:
            see([waiting.popleft().result() for _ in range(BATCH)])
            waiting.extend(pool.submit(read, next(coming)) for _ in range(BATCH))
            count += BATCH
    return bare, count / took, alone


def median_of(work: Callable[[], None], seconds: float) -> float:
    """Return the median seconds of a call, over so many seconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def asked(url: str, script: Path, clients: int, seconds: int) -> Asked:
    """Return what so many clients saw; each asks anew when it has its answer."""
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "--latency"]
    subprocess.run(
        [*words[:3], "-d2s", *words[4:], "-s", str(script), url], check=True, capture_output=True
    )
    said = subprocess.run(
        [*words, "-s", str(script), url], check=True, capture_output=True, text=True
    ).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    requests = re.search(r"Requests/sec:\s+([\d.]+)", said)
    times = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s|m))", said))
    assert requests, said
    return Asked(float(requests[1]), _ms(times["50"]), _ms(times["99"]))


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]


if __name__ == "__main__":
    main()
