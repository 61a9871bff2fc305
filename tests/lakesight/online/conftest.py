"""One server of many models, for the tests of endpoints."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import lakesight
from tests import photos
from tests.annotating import picture
from tests.lakesight.models import tiny
from tests.serving import Running, running

PACKAGED = ("ssd-mobilenet-v2-coco", "movenet-lightning", "efficientnet-lite3")
STARTERS = tuple(
    f"starter-yolo-{task}" for task in ("detect", "segment", "pose", "obb", "classify")
)
TINY = ("clip", "blip2-itc", "blip-itm", "blip", "blip2-t5")
SHORT = {"max_new_tokens": 6, "num_beams": 2}
WRITES = {
    "blip2-t5": dict.fromkeys(("caption", "answer", "caption_crops"), SHORT),
    "blip": dict.fromkeys(("caption", "caption_crops"), SHORT),
}

CAPTION = "<img src=x onerror=alert(1)> & a “quoted” 'caption'"
"""Of one of the photos: a text that is a text, wherever it is shown."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of models of every kind, with 4 pictures a request at most."""
    models: list[Any] = [*STARTERS, *PACKAGED]
    for name in TINY:
        folder = tiny.write(name, tmp_path_factory.mktemp("models") / name)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        models.append({"model": str(folder), "options": WRITES.get(name, {})})
    with running(models=models, num_threads=1, max_loaded=20, max_pictures=4) as server:
        yield server


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos`; `texts`, their index that reads text; `plain`, one that knows no model."""
    root = tmp_path_factory.mktemp("lake")
    model = tiny.write("clip", root / "clip")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    embedder = lakesight.load(str(model), kind="embed")
    paths = photos.write_photos(root / "photos")
    captions = [f"{path.stem}: a photo" for path in paths]
    captions[0] = CAPTION
    rows = photos.looked_at(paths, embedder, captions)
    photos.publish(rows, root / "texts", embedder)
    photos.publish(rows, root / "plain", None)
    return root


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A picture of squares, 160 by 120."""
    return encoded(3)


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    file = BytesIO()
    picture(seed).save(file, kind, quality=90)
    return file.getvalue()


@pytest.fixture(scope="session")
def photo_path(tmp_path_factory: pytest.TempPathFactory, jpeg: bytes) -> Path:
    """The same picture as a file."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(jpeg)
    return path
