"""Training images/s of every task, beside the network's own forward and backward pass.

    python -m benchmarks.train [--images 256] [--image-size 320] [--batch-size 16] [--rounds 3]

Everything is on the CPU. The ceiling is the same network on pixels that are there already: forward,
a sum as loss, backward, no optimizer. What is between the two is ours: pictures, augmentation,
assignment, losses, the mean of the weights. Contenders take turns, every one with a warm-up;
figures are medians.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.network import Network
from lakesight.training.loop import Callback, Trainer
from lakesight.training.settings import LoopSettings
from lakesight.training.yolo.datasets import Pictures
from lakesight.training.yolo.job import TrainJob, open_job_data, start
from lakesight.training.yolo.recipe import YoloRecipe
from workflows.scenes import Scenes


def main() -> None:
    """Run all rounds and print the figures, the last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        Scenes(output=folder, num_images=options.images, num_val=1).run()
        contenders = {
            f"{task}/{precision}/{name}": run
            for task in get_args(Task)
            for precision in ("f32", "bf16")
            for name, run in made(folder, task, precision, options).items()
        }
        for run in contenders.values():
            run()
        for number in range(options.rounds):
            for name, run in contenders.items():
                rates.setdefault(name, []).append(options.images / run())
            print(f"round {number + 1}: {', '.join(line(rates, -1))}", flush=True)
    medians = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    shares = {
        both: round(medians[f"{both}/ours"] / medians[f"{both}/ceiling"], 3)
        for both in sorted({name.rpartition("/")[0] for name in medians})
    }
    print(
        json.dumps(
            {**vars(options), "device": "cpu", "images_per_s": medians, "of_the_ceiling": shares}
        )
    )


def made(
    folder: str, task: Task, precision: str, options: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """Return both contenders, each a function that looks at all pictures and returns seconds."""
    job = TrainJob.model_validate(
        {
            "data": folder,
            "task": task,
            "precision": precision,
            "image_size": options.image_size,
            "batch_size": options.batch_size,
            "nominal_batch": options.batch_size,
            "close_mosaic": 0,
            "epochs": 1,
        }
    )
    data = open_job_data(job)

    def ours() -> float:
        watch = Watch()
        network = start(job, data.train).network
        recipe = YoloRecipe(network, data.train, watch.stop, job)
        Trainer(recipe, job, Path(folder), [watch]).fit()
        return watch.seconds

    def ceiling() -> float:
        return bare(start(job, data.train).network, data.train, job)

    return {"ours": ours, "ceiling": ceiling}


class Watch(Callback):
    """Times an epoch: from the start of a training to where it asks how good it has become."""

    seconds = 0.0
    _began = 0.0

    def on_start(self, settings: LoopSettings, folder: Path) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def stop(self, network: Network) -> dict[str, float]:
        """Stop the clock, and judge nothing."""
        self.seconds = time.perf_counter() - self._began
        return {"fitness": 0.0}


def bare(network: Network, dataset: Pictures, job: TrainJob) -> float:
    """Return the seconds of forward and backward over as many pictures as the dataset has."""
    network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = (job.batch_size, 3, job.image_size, job.image_size)
    pixels = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    began = time.perf_counter()
    for _ in range(len(dataset) // job.batch_size):
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            raw: Any = network(pixels)
        parts = [one for one in raw if isinstance(one, Tensor) and one.requires_grad]
        torch.stack([one.float().mean() for one in parts]).sum().backward()  # type: ignore[no-untyped-call]
        network.zero_grad()
    return time.perf_counter() - began


def line(rates: dict[str, list[float]], number: int) -> list[str]:
    """Return one round's rates as text."""
    return [f"{name} {found[number]:.1f}" for name, found in rates.items()]


if __name__ == "__main__":
    main()
