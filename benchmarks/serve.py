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
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import export
from lakesight.media.decode import Decoded, decode
from lakesight.media.limits import Limits
from lakesight.models import catalog
from lakesight.models.base import Kind, Model
from lakesight.online.offers import Serving
from lakesight.runtimes.base import usable_cpus
from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.training import FirstStageTraining
from workflows.scenes import Scenes

BATCH = int(Serving.model_fields["max_batch"].default)
"""Pictures of one call, as the server has them."""
NUM_PICTURES = 32
SIDE = 640
"""Of a picture, in pixels."""
EMBEDDER: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 32,
    "vision": {"width": 384, "layers": 12, "heads": 6},
    "qformer": {"width": 192, "layers": 4, "heads": 3},
    "num_queries": 8,
    "shared": 128,
}
SCRIPT = """
local requests, number = {{}}, 0
function init()
  for place = 0, {count} - 1 do
    local file = io.open(string.format("{folder}/%03d.jpg", place), "rb")
    local headers = {{["Content-Type"] = "image/jpeg"}}
    requests[#requests + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end
function request()
  number = number % #requests + 1
  return requests[number]
end
"""
READY_S = 180


class Asked(NamedTuple):
    """What `wrk` saw."""

    requests_s: float
    p50_ms: float
    p99_ms: float


Start = Callable[[], AbstractContextManager[str]]
"""Runs a server while it is needed, and says where it answers."""


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


class Way(NamedTuple):
    """How the peer is run."""

    workers: int
    threads: int
    """Of a session of ONNX Runtime."""
    requests: int
    """That a worker works on at once: FastAPI's own limit is 40."""


def ways() -> list[Way]:
    """Return what the peer is tried with."""
    cpus = usable_cpus()
    sizes = sorted({(cpus, 1), (1, cpus), (1, 1), (max(1, cpus // 2), 2)})
    return [Way(*size, requests) for size in sizes for requests in sorted({cpus, 40})]


def drawn(folder: Path) -> Path:
    """Write the pictures, and the script that has wrk send them; return the script."""
    pictures, scenes = folder / "pictures", folder / "asked"
    Scenes(output=str(scenes), num_images=0, num_val=NUM_PICTURES, size=str(SIDE), seed=1).run()
    pictures.mkdir()
    for number, path in enumerate(sorted((scenes / "images" / "val").iterdir())):
        path.rename(pictures / f"{number:03}.jpg")
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(count=NUM_PICTURES, folder=pictures))
    return script


def detector(folder: Path) -> Path:
    """Return an exported YOLO."""
    export("starter-yolo-detect", ["onnx"], folder / "detect", ExportOptions(num_views=2))
    return folder / "detect"


def embedder(folder: Path) -> Path:
    """Return an exported first stage of BLIP-2, of random weights."""
    scenes, plain = str(folder / "scenes"), folder / "plain"
    Scenes(output=scenes, num_images=2, num_val=2).run()
    job = {"data": scenes, "size": EMBEDDER, "epochs": 1, "max_tokens": 32, "freeze_vision": False}
    training = FirstStageTraining(FirstStageJob.model_validate(job))
    begun = training.begin()
    training.write(begun, plain)
    begun.tokenizer.save_pretrained(plain)
    for name, content in begun.pixels.items():
        (plain / name).write_bytes(content)
    (plain / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    export(str(plain), ["onnx"], folder / "embed", ExportOptions(num_views=2))
    return folder / "embed"


MAKERS: Mapping[str, Callable[[Path], Path]] = {"detect": detector, "embed": embedder}
OPTIONS: Mapping[str, dict[str, Any]] = {"detect": {}, "embed": {"queries": "all"}}
COLUMNS = {"detect": "detections", "embed": "embeddings"}


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


def ours(folder: Path, kind: str, runtime: str = "auto") -> Start:
    """Return what runs `lakesight serve` with a model."""

    @contextmanager
    def start() -> Iterator[str]:
        port = free_port()
        words = [sys.executable, "-m", "workflows", "serve", "--no-auth", "--port", str(port)]
        words += ["--model", f"{kind}={folder}", "--runtime", runtime]
        words += [f"--set={kind}.{name}={value}" for name, value in OPTIONS[kind].items()]
        url = f"http://127.0.0.1:{port}"
        with running(words, f"{url}/readyz", {}):
            yield f"{url}/v1/{kind}?model={kind}"

    return start


def peer(folder: Path, kind: str, way: Way) -> Start:
    """Return what runs the peer."""

    @contextmanager
    def start() -> Iterator[str]:
        port = free_port()
        app = "benchmarks.fastapi_peer:app"
        words = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
        words += ["--workers", str(way.workers), "--no-access-log", "--log-level", "error"]
        own = {"FOLDER": str(folder), "KIND": kind}
        own |= {"THREADS": str(way.threads), "REQUESTS": str(way.requests)}
        url = f"http://127.0.0.1:{port}"
        with running(words, f"{url}/docs", own):
            yield f"{url}/look"

    return start


@contextmanager
def running(words: Sequence[str], ready: str, own: Mapping[str, str]) -> Iterator[None]:
    """Run a server until it is no longer needed."""
    process = subprocess.Popen(words, env={**os.environ, **own}, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + READY_S
        while not _answers(ready):
            assert process.poll() is None, f"it ended: {words}"
            assert time.monotonic() < end, f"not ready in time: {words}"
            time.sleep(0.2)
        yield
    finally:
        is_there = process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True) if is_there else []
        process.terminate()
        process.wait(60)
        _, left = psutil.wait_procs(children, 30)
        for one in left:
            one.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def compared(kind: str, model: Model, files: Sequence[Path], mine: str, theirs: str) -> float:
    """Return the share of pictures of which the peer says about the same.

    Raises AssertionError where ours is not what the model says in this process, where the peer's
    is another on more than one picture in ten, and where a detector found nothing.
    """
    same = num_values = 0
    for path in files:
        data = path.read_bytes()
        drawn = decode(data, [model.view], Limits())
        size = pa.table({"width": [drawn.width], "height": [drawn.height]})
        (value,) = model.predict(drawn.views, size).to_pylist()
        sent: dict[str, Any] = {"content": data, "headers": {"content-type": "image/jpeg"}}
        (result,) = httpx.post(mine, timeout=60, **sent).json()["results"]
        other = httpx.post(theirs, timeout=60, **sent).json()[COLUMNS[kind]]
        assert alike(kind, result[COLUMNS[kind]], value, 1e-3), path.name
        same += alike(kind, other, value, 0.1)
        num_values += len(value)
    assert num_values >= len(files), "there is nothing to compare"
    assert same >= 0.9 * len(files), f"the peer agrees on {same} of {len(files)} pictures"
    return round(same / len(files), 3)


def alike(kind: str, one: Sequence[Any], other: Sequence[Any], tolerance: float) -> bool:
    """Return whether two models say the same, but for so much of a score, an IoU or a cosine.

    Of objects those with a score above 0.5 in either.
    """
    if kind == "embed":
        cosines = (np.array(one) * np.array(other)).sum(axis=1)
        return bool(cosines.min() > 1 - tolerance)
    for every, others in ((one, other), (other, one)):
        left = list(others)
        for found in every:
            fits = (
                place
                for place, partner in enumerate(left)
                if found["label"] == partner["label"]
                and abs(found["score"] - partner["score"]) <= tolerance
                and iou(found["box"], partner["box"]) >= 1 - 2 * tolerance
            )
            place = next(fits, None) if found["score"] > 0.5 else -1
            if place is None:
                return False
            if place >= 0:
                left.pop(place)
    return True


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (x_min, y_min, x_max, y_max)."""
    a, b = np.array(one), np.array(other)
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


if __name__ == "__main__":
    main()
