"""`lakesight scenes OUTPUT --num-images 1000`: generated pictures and videos with exact truth."""

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.scenes.folder import SceneFolder
from lakesight.scenes.plan import Plan, Slice
from lakesight.scenes.scene import check_size
from workflows.progress import duration, progress


class Scenes(Frozen):
    """Generate pictures of shapes with exact truth for every task: `docs/scenes.md`.

    Boxes, masks, keypoints, rotated boxes, classes, captions, questions, and for videos
    identities, as COCO JSON and as Parquet tables. The same seed gives the same bytes, with any
    number of processes. Run again to resume.

    Examples:
      lakesight scenes scenes/
      lakesight scenes scenes/ --num-images 20000 --num-val 1000 --size 640 --seed 7
      lakesight scenes clips/ --num-images 0 --num-val 0 --num-videos 50 --size 480x320
    """

    output: CliPositionalArg[str]
    """Local folder: new, empty, or of the same settings."""
    num_images: int = Field(default=1000, ge=0)
    """Pictures in the split train."""
    num_val: int = Field(default=200, ge=0)
    """Pictures in the split val."""
    num_videos: int = Field(default=0, ge=0)
    """Videos, each a folder of frames, ten a second."""
    frames: int = Field(default=32, ge=1)
    """Frames of a video."""
    size: str = "320"
    """Side of the pictures in px, or WIDTHxHEIGHT; 64 to 4096."""
    seed: int = Field(default=0, ge=0)
    """Another one gives other pictures."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that draw; as many as there are cores unless given."""

    def run(self) -> int:
        """Draw what is not there yet; return 0 when everything is."""
        plan = self.plan()
        folder = SceneFolder(_local(self.output))
        start = time.perf_counter()
        with folder.bound(plan):
            pending = folder.pending(plan)
            num_pictures = sum(plan.num_pictures(part) for part in pending)
            try:
                with progress(num_pictures) as state:
                    for part in _drawn(folder, plan, pending, self.processes or _num_cores()):
                        state.done += plan.num_pictures(part)
            except BrokenProcessPool:
                print("lakesight: a process that drew was killed; run it again", file=sys.stderr)
                return 1
            for split in plan.splits():
                folder.finish(plan, split)
            folder.clear()
        self._print(plan, num_pictures, time.perf_counter() - start)
        return 0

    def plan(self) -> Plan:
        """Return what the folder shall hold; raise UserError for a size that cannot be drawn."""
        if not re.fullmatch(r"[0-9]+(x[0-9]+)?", self.size):
            raise UserError(f"expected --size SIDE or WIDTHxHEIGHT in px, got {self.size!r}")
        sides = [int(side) for side in self.size.split("x")]
        width, height = check_size((sides[0], sides[-1]))
        return Plan(
            seed=self.seed,
            num_images=self.num_images,
            num_val=self.num_val,
            num_videos=self.num_videos,
            num_frames=self.frames,
            width=width,
            height=height,
        )

    def _print(self, plan: Plan, num_pictures: int, seconds: float) -> None:
        if not num_pictures:
            print(f"Nothing new: {self.output} is complete")
            return
        print(
            f"Drew {num_pictures:,} pictures in {duration(seconds)}, "
            f"{num_pictures / seconds:.1f} images/s; {self.output} holds {plan.num_images:,} for "
            f"training, {plan.num_val:,} for validation and {plan.num_videos:,} videos"
        )


def _local(output: str) -> Path:
    if "://" in output:
        raise UserError(f"expected a local folder, got {output!r}: draw there, then copy it")
    return Path(output)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _drawn(
    folder: SceneFolder, plan: Plan, pending: Sequence[Slice], num_processes: int
) -> Iterator[Slice]:
    """Draw the slices; yield each when it is done."""
    num_processes = min(num_processes, len(pending))
    if num_processes <= 1:
        for part in pending:
            folder.draw(plan, part)
            yield part
        return
    with _pool(num_processes) as pool:
        futures = {pool.submit(folder.draw, plan, part): part for part in pending}
        for future in as_completed(futures):
            future.result()
            yield futures[future]


@contextmanager
def _pool(num_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that draw; where the body fails, what has not begun is dropped."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a drawing process: one thread, deaf to Ctrl-C, gone with its parent."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
