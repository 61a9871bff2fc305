"""A value over HTTP is the value that `lakesight annotate` writes for the same bytes: every family.

Both with one thread, and floats within rounding: how many cores add numbers up, and how many
pictures are in a batch (which on a server depends on the moment), decides their last digits.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import lakesight
from lakesight.models.families import FAMILIES
from lakesight.models.yolo_import import Answers, import_yolo
from tests.annotating import MODEL, picture, run
from tests.lakesight.models import tiny
from tests.lakesight.models.onnx_files import COLOURS, write_yolo
from tests.serving import Running, running
from workflows.demo import open_photo

pytestmark = pytest.mark.usefixtures("shared_ray")

NAMES = ["astronaut.jpg", "chelsea.png", "shapes.jpg", "nothing.png", "broken.jpg"]
STARTERS = ["detect", "segment", "pose", "obb", "classify"]
WRITES = {"max_new_tokens": 5, "num_beams": 2}
ASKED = ["is it raining?", "what colour is it?"]
CANDIDATES = ["red", "green as grass", "no"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    open_photo("skimage.data", "astronaut.png").save(folder / "astronaut.jpg", quality=90)
    open_photo("skimage.data", "chelsea.png").save(folder / "chelsea.png")
    picture(3).save(folder / "shapes.jpg", quality=90)
    Image.new("RGB", (64, 48), "white").save(folder / "nothing.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a model of every family that brings no weights, by the name that requests use."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name in ("rt-detr-v2", "clip", "blip2-itc", "blip", "blip2-t5"):
        path = tiny.write(name, folder / name)
        (path / "README.md").write_text("---\nlicense: mit\n---\n")
        found[name] = str(path)
    file = write_yolo(folder / "colours.onnx", "v8")
    import_yolo(file, folder / "colours", Answers(licence="MIT", labels=COLOURS))
    return {**found, "colours": str(folder / "colours")}


@pytest.fixture(scope="module")
def rows(
    photos: Path, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> pa.Table:
    """Return what `annotate` wrote, in the order of `NAMES`."""
    output = str(tmp_path_factory.mktemp("out") / "seen")
    words = ["annotate", str(photos), output, "--num-actors", "1", "--cpus-per-actor", "1"]
    words += ["--detect", MODEL, "--pose", "movenet-lightning"]
    for task in STARTERS:
        kind = "classify" if task == "classify" else "detect"
        words += [f"--{kind}", f"starter_{task}=starter-yolo-{task}"]
    words += [
        "--detect",
        f"detr={models['rt-detr-v2']}",
        "--detect",
        f"colours={models['colours']}",
    ]
    words += ["--set", "detr.score_threshold=0.3"]
    words += ["--classify", "efficientnet-lite3", "--embed", "efficientnet-lite3"]
    words += ["--embed", f"clip={models['clip']}", "--embed", f"itc={models['blip2-itc']}"]
    words += ["--set", "itc.queries=all", "--set", "clip.vector_dtype=float32"]
    words += ["--caption", models["blip2-t5"], "--caption", f"blip={models['blip']}"]
    words += ["--answer", models["blip2-t5"], "--caption-crops", models["blip2-t5"]]
    words += ["--answer", f"chosen={models['blip2-t5']}", "--caption", f"best={models['blip2-t5']}"]
    words += ["--set", f"answer.questions={ASKED}", "--set", f"chosen.questions={ASKED}"]
    words += ["--set", f"chosen.candidates={CANDIDATES}", "--set", "best.num_captions=2"]
    for kind in ("caption", "answer", "caption_crops", "blip", "chosen", "best"):
        words += [f"--set={kind}.{name}={value}" for name, value in WRITES.items()]
    said = run(*words)
    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1, said
    assert all(f"starter-yolo-{task}" in warnings[0] for task in STARTERS)
    assert "learned from pictures of `lakesight scenes` alone" in warnings[0]
    table = lakesight.open(output).dataset().to_table()
    order = [uri.rpartition("/")[2] for uri in table["uri"].to_pylist()]
    return table.take([order.index(name) for name in NAMES])


@pytest.fixture(scope="module")
def server(models: dict[str, str]) -> Iterator[Running]:
    writes = dict.fromkeys(("caption", "answer", "caption_crops"), WRITES)
    options: dict[str, Any] = {
        "rt-detr-v2": {"detect": {"score_threshold": 0.3}},
        "clip": {"embed": {"vector_dtype": "float32"}},
        "blip2-itc": {"embed": {"queries": "all"}},
        "blip2-t5": writes,
        "blip": dict.fromkeys(("caption", "caption_crops"), WRITES),
    }
    own = [MODEL, "movenet-lightning", "efficientnet-lite3"]
    named = [{"model": name} for name in [*own, *(f"starter-yolo-{task}" for task in STARTERS)]]
    named += [
        {"model": path, "name": name, "options": options.get(name, {})}
        for name, path in models.items()
    ]
    with running(models=named, num_threads=1, max_loaded=20) as server:
        yield server


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "detections": ("detect", "detections", {"model": MODEL, "pose": "movenet-lightning"}),
    **{
        f"starter_{task}": ("detect", "detections", {"model": f"starter-yolo-{task}"})
        for task in STARTERS[:-1]
    },
    "starter_classify": ("classify", "classes", {"model": "starter-yolo-classify"}),
    "detr": ("detect", "detections", {"model": "rt-detr-v2"}),
    "colours": ("detect", "detections", {"model": "colours"}),
    "classes": ("classify", "classes", {"model": "efficientnet-lite3"}),
    "embedding": ("embed", "embedding", {"model": "efficientnet-lite3"}),
    "clip": ("embed", "embedding", {"model": "clip"}),
    "itc": ("embed", "embeddings", {"model": "blip2-itc"}),
    "caption": ("caption", "caption", {"model": "blip2-t5"}),
    "blip": ("caption", "caption", {"model": "blip"}),
    "answers": ("vqa", "answers", {"model": "blip2-t5", "questions": ASKED}),
    "chosen": (
        "vqa",
        "answers",
        {"model": "blip2-t5", "questions": ASKED, "candidates": CANDIDATES},
    ),
    "best": ("caption", "captions", {"model": "blip2-t5", "num_captions": 2}),
    "crop_captions": (
        "detect",
        "crop_captions",
        {"model": MODEL, "pose": "movenet-lightning", "caption_crops": "blip2-t5"},
    ),
}
"""Column of `annotate` to the endpoint, the field of its results, and what it is asked."""


def test_every_family_is_compared(server: Running) -> None:
    served = server.call(_families(server))
    assert served == set(FAMILIES)
    listed = {one["id"] for one in server.client.get("/v1/models").json()["data"]}
    assert {asked["model"] for _, _, asked in CASES.values()} | {"movenet-lightning"} == listed


async def _families(server: Running) -> set[str]:
    async with server.service.visit() as shop:
        return {spec.card.family for one in shop.models.values() for spec in one.specs.values()}


@pytest.mark.parametrize("column", CASES)
def test_a_value_is_the_value_of_the_row(
    column: str, rows: pa.Table, photos: Path, server: Running
) -> None:
    path, field, asked = CASES[column]
    images = [{"data": base64.b64encode((photos / name).read_bytes()).decode()} for name in NAMES]
    response = server.client.post(f"/v1/{path}", json={**asked, "images": images})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    for name in ("width", "height", "format", "error"):
        assert [one[name] for one in results] == rows[name].to_pylist(), name
    assert [one["status"] for one in results] == rows["status"].to_pylist()
    kind = rows.schema.field(column).type
    values = pa.array([one[field] for one in results], kind)
    _assert_same(values.to_pylist(), rows[column].to_pylist())
    assert np.sum([one is not None for one in values.to_pylist()]) == len(NAMES) - 1
    assert any(values.to_pylist()), "what is compared is more than nothing"


def _assert_same(found: Any, expected: Any) -> None:
    """Everything is equal, floats but for their rounding."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, one in expected.items():
            _assert_same(found[name], one)
    else:
        assert found == expected


def test_alone_a_picture_has_the_same_value(rows: pa.Table, photos: Path, server: Running) -> None:
    """As the body, and as a file of a form; alone in its batch."""
    data = (photos / "shapes.jpg").read_bytes()
    raw = {"content": data, "headers": {"content-type": "image/jpeg"}}
    for sent in (raw, {"files": {"photo": ("shapes.jpg", data, "image/jpeg")}}):
        response = server.client.post("/v1/detect?model=starter-yolo-detect", **sent)
        (found,) = response.json()["results"]
        kind = rows.schema.field("starter_detect").type
        expected = rows["starter_detect"][NAMES.index("shapes.jpg")].as_py()
        _assert_same(pa.array([found["detections"]], kind).to_pylist(), [expected])
        assert len(expected) == 2
