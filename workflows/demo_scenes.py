"""The demo's second act: scenes of which all is known are looked at, searched and judged."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lakesight.scenes.known import NAME
from workflows.scenes import Scenes

NUM_SCENES = 60
SIZE_PX = "224"
SEED = 2026
"""Of scenes on which no starter was trained or judged."""
PREFIX = "scenes"
DETECTOR, FINDER = "starter-yolo-detect", "starter-blip2-retrieve"


def draw(folder: Path) -> None:
    """Draw the scenes, unless they are there."""
    Scenes(output=str(folder), num_images=0, num_val=NUM_SCENES, size=SIZE_PX, seed=SEED).run()


def objects(folder: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield keys and contents: the pictures, and `scenes.json`, which says what they are.

    What is known of them stays here.
    """
    for path in [folder / NAME, *sorted((folder / "images" / "val").iterdir())]:
        yield f"{PREFIX}/{path.relative_to(folder)}", path.read_bytes


def commands(bucket: str, folder: Path, report: Path) -> list[list[str]]:
    """Return the act's commands, as one would type them; `folder` holds what is known."""
    scenes, told, index = (f"s3://{bucket}/{name}" for name in (f"{PREFIX}/", "told", "found"))
    judged = [
        ["evaluate", told, str(folder), "--column", column, *more]
        for column, *more in (("detections",), ("embeddings", "--captions", "description"))
    ]
    return [
        ["annotate", scenes, told, "--detect", DETECTOR, "--embed", FINDER,
         "--set", "embed.queries=all"],
        ["index", told, index, "--column", "embeddings"],
        ["search", index, "a red star and a blue circle on a white background", "-k", "4"],
        *judged,
        ["report", told, str(report), "--truth", str(folder)],
    ]  # fmt: skip
