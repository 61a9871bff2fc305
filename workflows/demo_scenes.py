"""The demo's second act: scenes of which all is known are looked at, searched and judged."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflows.scenes import Scenes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NUM_SCENES = 60
SIZE_PX = 224
SEED = 2026
"""Of scenes on which no starter was trained or judged."""
PREFIX = "scenes"
DETECTOR, FINDER = "starter-yolo-detect", "starter-blip2-retrieve"


def draw(folder: Path) -> None:
    """Draw the scenes, unless they are there."""
    command = Scenes(
        output=str(folder), num_images=0, num_val=NUM_SCENES, size=str(SIZE_PX), seed=SEED
    )
    command.run()


def upload(client: "S3Client", bucket: str, folder: Path) -> int:
    """Put the scenes into a bucket, unless they are there; return how many there are.

    With `scenes.json`, which says what the pictures are. What is known of them stays here.
    """
    names = sorted(f"images/val/{path.name}" for path in (folder / "images" / "val").iterdir())
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{PREFIX}/")
    there = {entry["Key"] for page in pages for entry in page.get("Contents", ())}
    for name in ["scenes.json", *names]:
        if (key := f"{PREFIX}/{name}") not in there:
            client.put_object(Bucket=bucket, Key=key, Body=(folder / name).read_bytes())
    return len(names)


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
