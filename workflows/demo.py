"""`lakesight demo`: the whole main job, on photos and on scenes, in an S3 server of its own."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from workflows import demo_scenes
from workflows.s3_server import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PHOTOS = {
    "skimage.data": (
        "astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png",
        "motorcycle_right.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "moon.png",
        "coins.png", "camera.png", "horse.png", "grass.png", "gravel.png", "brick.png",
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}  # fmt: skip
"""Real photographs that come inside the packages of the extra `photos`."""

VARIANTS = ("whole", "left", "right", "mirrored")
BUCKET = "lakesight-demo"
SERVED = ["serve", "--model", demo_scenes.WRITER, "--model", demo_scenes.DETECTOR]


class Demo(Frozen):
    """Run the whole main job on real photos: S3, Ray Data, Parquet, FAISS, a report.

    Starts an S3 server on this machine, puts photos into a bucket and looks at them with real
    weights; then scenes, of which everything is known: what starters detect, tell, answer and find
    is held against the truth. Every command is printed, so that you can try it on your own.
    A second run finds everything done.

    Examples:
      lakesight demo
      lakesight demo --serve
    """

    folder: Path = Path(".demo")
    """Where the S3 server keeps its objects, and where scenes and reports go."""
    serve: bool = False
    """Then serve the models and both indexes, with a page to search them by, until Ctrl-C."""

    def run(self) -> int:
        """Return 0 if every step kept its promise."""
        folder = self.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        reports = folder / "report.html", folder / "scenes.html"
        with S3Server(folder / "s3") as server:
            os.environ.update(server.environment)
            print(f"S3 server at {server.endpoint}; its objects are in {folder / 's3'}")
            objects = ((key, partial(_jpeg, picture)) for key, picture in photos())
            count = upload(server.client(), BUCKET, objects)
            print(f"{count} photos are in s3://{BUCKET}/photos/")
            demo_scenes.draw(folder / "scenes")
            upload(server.client(), BUCKET, demo_scenes.objects(BUCKET, folder / "scenes"))
            print(f"{demo_scenes.NUM_SCENES} scenes are in s3://{BUCKET}/scenes/")
            for words in [
                *commands(reports[0]),
                *demo_scenes.commands(BUCKET, folder / "scenes", reports[1]),
            ]:
                if code := _run(words):
                    return code
            print(f"\nOpen {reports[0]} and {reports[1]} in a browser.", flush=True)
            if self.serve:
                keys = folder / "keys" / "keys.json"
                keys.unlink(missing_ok=True)  # a key, and the link of the page, are shown each time
                return _run([*SERVED, f"--index=scenes={demo_scenes.index(BUCKET)}",
                             f"--index=photos=s3://{BUCKET}/index", f"--keys={keys}"])  # fmt: skip
        print("To search what was found on a page, by HTTP and by OpenAI's clients:\n")
        print("  lakesight demo --serve")
        return 0


def commands(report: Path) -> list[list[str]]:
    """Return the demo's commands, as one would type them."""
    lake, seen, index = (f"s3://{BUCKET}/{name}" for name in ("photos/", "seen", "index"))
    return [
        ["annotate", lake, seen, "--detect", "ssd-mobilenet-v2-coco", "--pose", "movenet-lightning",
         "--classify", "efficientnet-lite3", "--embed", "efficientnet-lite3"],
        ["index", seen, index],
        ["search", index, f"{lake}motorcycle_left/whole.jpg", "-k", "4"],
        ["search", index, f"{lake}chelsea/left.jpg", "-k", "4",
         "--where", "list_contains([d.label for d in detections], 'cat')"],
        ["sql", seen, ("SELECT d.label, count(DISTINCT uri) AS pictures, count(*) AS objects "
         "FROM (SELECT uri, unnest(detections) AS d FROM rows) GROUP BY d.label "
         "ORDER BY pictures DESC, d.label LIMIT 12")],
        ["report", seen, str(report)],
    ]  # fmt: skip


def upload(
    client: "S3Client", bucket: str, objects: Iterable[tuple[str, Callable[[], bytes]]]
) -> int:
    """Put objects into a bucket under their keys, unless they are there; return their number."""
    if bucket not in [one.get("Name") for one in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    there = {entry["Key"] for page in pages for entry in page.get("Contents", ())}
    keys = set()
    for key, read in objects:
        keys.add(key)
        if key not in there:
            client.put_object(Bucket=bucket, Key=key, Body=read())
    return len(keys)


def photos() -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """Yield keys and pictures: each photo whole, its left and right two thirds, and mirrored."""
    for package, name in photo_names():
        for variant in VARIANTS:
            key = f"photos/{Path(name).stem}/{variant}.jpg"
            yield key, partial(_variant, package, name, variant)


def photo_names() -> list[tuple[str, str]]:
    """Return the package and the file name of every photo."""
    return [(package, name) for package, names in PHOTOS.items() for name in names]


def open_photo(package: str, name: str) -> Image.Image:
    """Return one photo, RGB. Raises UserError when its package is not installed."""
    try:
        data = (files(package) / name).read_bytes()
    except ModuleNotFoundError as error:
        raise UserError(
            f"the demo's photos come with {package.partition('.')[0]}, which is not installed: "
            "pip install 'lakesight[photos]'"
        ) from error
    return Image.open(BytesIO(data)).convert("RGB")


def _variant(package: str, name: str, variant: str) -> Image.Image:
    photo = open_photo(package, name)
    third = photo.width // 3
    match variant:
        case "left":
            return photo.crop((0, 0, 2 * third, photo.height))
        case "right":
            return photo.crop((third, 0, photo.width, photo.height))
        case "mirrored":
            return ImageOps.mirror(photo)
    return photo


def _jpeg(picture: Callable[[], Image.Image]) -> bytes:
    buffer = BytesIO()
    picture().save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _run(words: Sequence[str]) -> int:
    from workflows.__main__ import main

    print(f"\n$ lakesight {shlex.join(words)}", flush=True)
    code = main(words)
    sys.stdout.flush()
    return code
