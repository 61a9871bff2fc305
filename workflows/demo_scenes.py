"""The demo's second act: scenes of which all is known are looked at, searched and judged."""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakesight.scenes.known import NAME
from workflows.scenes import Scenes

NUM_SCENES = 60
SIZE_PX = "224"
SEED = 2026
"""Of scenes on which no starter was trained or judged."""
PREFIX = "scenes"
LIST = "scenes.parquet"
"""Key of the list of the pictures with the questions that each is asked."""
DETECTOR, FINDER = "starter-yolo-detect", "starter-blip2-retrieve"
WRITER = "starter-blip2-write"


def draw(folder: Path) -> None:
    """Draw the scenes, unless they are there."""
    Scenes(output=str(folder), num_images=0, num_val=NUM_SCENES, size=SIZE_PX, seed=SEED).run()


def objects(bucket: str, folder: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield keys and contents: the pictures, the list with their questions, and `scenes.json`.

    That file says what they are; what is known of each of them stays here.
    """
    for path in [folder / NAME, *sorted((folder / "images" / "val").iterdir())]:
        yield f"{PREFIX}/{path.relative_to(folder)}", path.read_bytes
    yield LIST, partial(asked, bucket, folder)


def asked(bucket: str, folder: Path) -> bytes:
    """Return a Parquet list of the pictures and their questions, as `annotate` takes one."""
    known = pq.read_table(folder / "tables" / "val.parquet", columns=["file_name", "questions"])
    rows = [
        {
            "uri": f"s3://{bucket}/{PREFIX}/{row['file_name']}",
            "questions": [one["question"] for one in row["questions"]],
        }
        for row in known.to_pylist()
    ]
    out = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def index(bucket: str) -> str:
    """Return where the index of the scenes is published."""
    return f"s3://{bucket}/found"


def commands(bucket: str, folder: Path, report: Path) -> list[list[str]]:
    """Return the act's commands, as one would type them; `folder` holds what is known."""
    scenes, told = (f"s3://{bucket}/{name}" for name in (LIST, "told"))
    described = ["--captions", "description"]
    judged = [
        ["evaluate", told, str(folder), "--column", column, *more]
        for column, *more in (
            ("detections",),
            ("caption", *described),
            ("answers", "--slice", "kind"),
            ("embeddings", *described),
        )
    ]
    return [
        ["annotate", scenes, told, "--detect", DETECTOR, "--caption", WRITER, "--answer", WRITER,
         "--embed", FINDER, "--set", "embed.queries=all"],
        ["index", told, index(bucket), "--column", "embeddings"],
        ["search", index(bucket), "a red star and a blue circle on a white background", "-k", "4"],
        *judged,
        ["report", told, str(report), "--truth", str(folder), *described],
    ]  # fmt: skip
