"""`/v1/detect`: objects, keypoints, captions of objects, and pictures with them drawn on."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.online.decoding import SHOWN
from lakesight.online.shop import shown
from lakesight.paint import paint
from tests.serving import Running
from workflows.demo import open_photo

RAW = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def astronaut() -> bytes:
    file = io.BytesIO()
    open_photo("skimage.data", "astronaut.png").save(file, "JPEG", quality=92)
    return file.getvalue()


def test_weak_objects_are_left_out(served: Running, jpeg: bytes) -> None:
    def ask(more: str) -> Any:
        return served.client.post(f"/v1/detect{more}", content=jpeg, headers=RAW).json()

    (every,) = ask("")["results"]
    scores = sorted(one["score"] for one in every["detections"])
    assert len(scores) == 2
    (some,) = ask(f"?min_score={scores[1]}")["results"]
    assert some["detections"] == [one for one in every["detections"] if one["score"] == scores[1]]
    (none,) = ask("?min_score=1")["results"]
    assert none["detections"] == []


def test_persons_have_keypoints_and_objects_captions(served: Running, astronaut: bytes) -> None:
    more = "model=ssd-mobilenet-v2-coco&pose=movenet-lightning&caption_crops=blip2-t5"
    answer = served.client.post(f"/v1/detect?{more}", content=astronaut, headers=RAW).json()
    (found,) = answer["results"]
    assert found["error"] is None
    persons = [one for one in found["detections"] if one["label"] == "person"]
    assert persons
    assert all(np.shape(one["keypoints"]) == (17, 3) for one in persons)
    assert len(found["crop_captions"]) == len(found["detections"])
    assert all(isinstance(one, str) for one in found["crop_captions"])


def test_captions_of_objects_go_with_them(served: Running, astronaut: bytes) -> None:
    def ask(score: float) -> Any:
        model = f"ssd-mobilenet-v2-coco&caption_crops=blip2-t5&min_score={score}"
        url = f"/v1/detect?model={model}"
        return served.client.post(url, content=astronaut, headers=RAW).json()["results"][0]

    every, some = ask(0), ask(0.5)
    kept = [place for place, one in enumerate(every["detections"]) if one["score"] >= 0.5]
    assert 0 < len(kept) < len(every["detections"])
    assert some["crop_captions"] == [every["crop_captions"][place] for place in kept]


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_picture_is_drawn_on(served: Running, jpeg: bytes, kind: str) -> None:
    answer = served.client.post(f"/v1/detect?draw={kind}", content=jpeg, headers=RAW).json()
    (found,) = answer["results"]
    assert found["picture"]["media_type"] == f"image/{kind}"
    data = base64.b64decode(found["picture"]["data"])
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == (kind.upper(), (160, 120))
    alone = served.client.post(
        "/v1/detect", content=jpeg, headers={**RAW, "accept": f"image/{kind}"}
    )
    assert alone.headers["content-type"] == f"image/{kind}"
    assert alone.content == data
    if kind == "png":
        (view,) = decode(jpeg, [SHOWN], Limits()).views
        painted = paint(shown(view, 160, 120), found["detections"], size_wh=(160, 120))
        assert np.array_equal(np.asarray(image), painted)


def test_a_large_picture_is_drawn_on_at_a_reduced_size(served: Running) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3000, 1500), "white").save(file, "PNG")
    answer = served.client.post(
        "/v1/detect",
        content=file.getvalue(),
        headers={"content-type": "image/png", "accept": "image/*"},
    )
    assert Image.open(io.BytesIO(answer.content)).size == (1024, 512)


def test_a_picture_of_a_small_one_is_nearly_what_it_was() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    (view,) = decode(file.getvalue(), [SHOWN], Limits()).views
    assert np.abs(shown(view, 40, 30).astype(int) - pixels).max() <= 8


def test_a_picture_alone_is_for_one_picture_alone(served: Running, jpeg: bytes) -> None:
    files = [("f", ("1", jpeg)), ("f", ("2", jpeg))]
    answer = served.client.post("/v1/detect", files=files, headers={"accept": "image/png"})
    assert (answer.status_code, answer.json()["type"]) == (406, "/problems/not-acceptable")


def test_a_broken_picture_is_not_drawn_on(served: Running, jpeg: bytes) -> None:
    files = [("f", ("1", jpeg)), ("f", ("2", b"none"))]
    first, second = served.client.post("/v1/detect?draw=1", files=files).json()["results"]
    assert first["picture"]["media_type"] == "image/jpeg"
    assert "picture" not in second
