"""JPEGs of mixed size, cut from the real photographs of the extra `photos`; the same every time."""

import io
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from workflows.demo import open_photo, photo_names

NUM_DISTINCT = 1500
"""Beyond so many, files are copies with other names."""


def make_photos(folder: Path, count: int) -> Path:
    """Return a folder of `count` JPEGs, 640 to 2048 px wide, quality 85 to 92."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(min(count, NUM_DISTINCT)) if not _path(folder, n).exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_make, [folder] * len(missing), missing, chunksize=16))
    for number in range(NUM_DISTINCT, count):
        if not _path(folder, number).exists():
            os.link(_path(folder, number % NUM_DISTINCT), _path(folder, number))
    for extra in sorted(folder.glob("*.jpg"))[count:]:
        extra.unlink()
    return folder


def make_specks(folder: Path, count: int) -> Path:
    """Return a folder of `count` tiny JPEGs, a thousand to a subfolder: plumbing, not pictures."""
    speck = folder.with_suffix(".jpg")
    speck.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (90, 120, 30)).save(speck, quality=80)
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(speck.read_bytes())
    return folder


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.jpg"


def _make(folder: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    names = photo_names()
    photo = open_photo(*names[number % len(names)])
    left, top = (rng.uniform(0, 0.2, 2) * photo.size).astype(int)
    right, bottom = (rng.uniform(0.8, 1, 2) * photo.size).astype(int)
    cut = photo.crop((int(left), int(top), int(right), int(bottom)))
    width = int(rng.integers(640, 2049))
    picture = cut.resize(
        (width, max(1, round(cut.height * width / cut.width))), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 4, (picture.height, picture.width, 1))
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(85, 93)))
    _path(folder, number).write_bytes(buffer.getvalue())
