"""The demo's second act: scenes of which everything is known are looked at, asked, and judged."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from workflows.scenes import Scenes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NUM_SCENES = 60
SIZE_PX = 224
SEED = 2026
"""Of scenes on which no starter was trained or judged."""
PREFIX = "scenes"
DETECTOR, WRITER, FINDER = "starter-yolo-detect", "starter-blip2-write", "starter-blip2-retrieve"


def draw(folder: Path) -> None:
    """Draw the scenes, unless they are there."""
    command = Scenes(
        output=str(folder), num_images=0, num_val=NUM_SCENES, size=str(SIZE_PX), seed=SEED
    )
    command.run()


def upload(client: "S3Client", bucket: str, folder: Path) -> int:
    """Put the scenes and a list of them, each with its questions, into a bucket; return how many.

    With `scenes.json`, which says what the pictures are. What is known of them stays here.
    """
    table = pq.read_table(folder / "tables" / "val.parquet", columns=["file_name", "questions"])
    rows = table.to_pylist()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{PREFIX}/")
    there = {entry["Key"] for page in pages for entry in page.get("Contents", ())}
    for name in ["scenes.json", *(row["file_name"] for row in rows)]:
        if (key := f"{PREFIX}/{name}") not in there:
            client.put_object(Bucket=bucket, Key=key, Body=(folder / name).read_bytes())
    buffer = BytesIO()
    pq.write_table(
        pa.table(
            {
                "uri": [f"s3://{bucket}/{PREFIX}/{row['file_name']}" for row in rows],
                "questions": [
                    list(dict.fromkeys(one["question"] for one in row["questions"])) for row in rows
                ],
            }
        ),
        buffer,
    )
    client.put_object(Bucket=bucket, Key=f"{PREFIX}.parquet", Body=buffer.getvalue())
    return len(rows)


def commands(bucket: str, folder: Path, report: Path) -> list[list[str]]:
    """Return the act's commands, as one would type them; `folder` holds what is known."""
    asked, told, index = (f"s3://{bucket}/{name}" for name in ("scenes.parquet", "told", "found"))
    judged = [
        ["evaluate", told, str(folder), "--column", column, *more]
        for column, *more in (
            ("detections",),
            ("caption", "--captions", "description"),
            ("answers", "--slice", "kind"),
            ("embeddings", "--captions", "description"),
        )
    ]
    return [
        ["annotate", asked, told, "--detect", DETECTOR, "--caption", WRITER, "--answer", WRITER,
         "--embed", FINDER, "--set", "embed.queries=all",
         "--embed", f"features={FINDER}", "--set", "features.write=features"],
        ["index", told, index, "--column", "embeddings", "--features", "features"],
        ["search", index, "a red star above a blue circle", "-k", "4", "--rerank", "16"],
        *judged,
        ["report", told, str(report), "--truth", str(folder), "--captions", "description"],
    ]  # fmt: skip
