"""What a key may use, asked of every endpoint that there is."""

import base64
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lakesight.online import key_file
from lakesight.online.keys import Rate, Scopes, make
from lakesight.online.sources import SourceSettings
from tests import openapi
from tests.lakesight.models import tiny
from tests.lakesight.online.conftest import encoded
from tests.serving import Running, running
from workflows.finder import open_index
from workflows.s3_server import S3Server

DETECTOR, POSES = "starter-yolo-detect", "movenet-lightning"
JPEG = encoded(3)
IMAGES = {"images": [{"data": base64.b64encode(JPEG).decode()}]}
URL = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
CHAT = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES"}
ASKED: dict[str, tuple[str, dict[str, Any] | None]] = {
    "/v1/detect": (DETECTOR, IMAGES),
    "/v1/classify": ("starter-yolo-classify", IMAGES),
    "/v1/caption": ("blip2-t5", IMAGES),
    "/v1/vqa": ("blip2-t5", {**IMAGES, "questions": ["why?"]}),
    "/v1/embed": ("clip", IMAGES),
    "/v1/match": ("clip", {**IMAGES, "texts": ["a dog"]}),
    "/v1/chat/completions": ("blip2-t5", {"messages": CHAT}),
    "/v1/embeddings": ("clip", {"input": ["a dog"]}),
    "/v1/models/{name}": (DETECTOR, None),
    "/v2/models/{name}": (DETECTOR, None),
    "/v2/models/{name}/ready": (DETECTOR, None),
    "/v2/models/{name}/infer": (
        DETECTOR,
        {"inputs": [{**TENSOR, "data": [base64.b64encode(JPEG).decode()]}]},
    ),
}
"""What is asked of a model, and of which."""
OF_NO_MODEL = {
    "/v1/models", "/v1/search", "/v1/rows", "/v1/rows/{id}", "/v1/rows/{id}/picture", "/healthz",
    "/readyz", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready", "/openapi.json",
}  # fmt: skip
"""Asked of an index, or of the server: their scopes are tested in test_rows and test_scrape."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys" / "keys.json"


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    client = s3_server.client()
    client.create_bucket(Bucket="scoped")
    for key in ("open/1.jpg", "closed/1.jpg"):
        client.put_object(Bucket="scoped", Key=key, Body=JPEG)
    return "scoped"


@pytest.fixture(scope="module")
def server(
    keys: Path, place: Path, bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    key_file.add(keys, make("first").key)
    models: list[Any] = [DETECTOR, "starter-yolo-classify", POSES, "ssd-mobilenet-v2-coco"]
    for name in ("clip", "blip2-t5"):
        folder = tiny.write(name, tmp_path_factory.mktemp("models") / name)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        models.append({"model": str(folder), "options": {"caption": {"max_new_tokens": 3}}})
    models[-2]["options"] = {}
    indexes = {"texts": str(place / "texts")}
    settings: dict[str, Any] = {
        "models": models,
        "indexes": indexes,
        "max_loaded": 20,
        "num_threads": 1,
    }
    sources = SourceSettings(s3=(f"s3://{bucket}/",))
    limits = {"max_pixels": 1_000_000}
    with running(open_index, sources, keys, limits=limits, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def ask(server: Running, keys: Path) -> Callable[..., Any]:
    """Return what asks a path with a new key of some scopes, and gives the answer."""

    def asked(path: str, body: dict[str, Any] | None, **given: Any) -> Any:
        made = make("one", Scopes(**given))
        key_file.add(keys, made.key)
        headers = {"authorization": f"Bearer {made.token}"}
        if body is None:
            return server.client.get(path, headers=headers)
        return server.client.post(path, json=body, headers=headers)

    return asked


def test_every_path_is_asked(server: Running) -> None:
    paths = set(server.client.get("/openapi.json").json()["paths"])
    assert paths - ASKED.keys() <= OF_NO_MODEL
    assert ASKED.keys() <= paths


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready", "/v1/models"]
)
def test_what_the_server_says_of_itself_is_as_it_is_described(
    path: str, ask: Callable[..., Any]
) -> None:
    answer = ask(path, None)
    assert answer.status_code == 200
    openapi.check(ask("/openapi.json", None).json(), path, answer)


@pytest.mark.parametrize("path", ASKED)
def test_a_model_is_for_whom_it_is_named_to(path: str, ask: Callable[..., Any]) -> None:
    name, body = ASKED[path]
    body = body if body is None or "{name}" in path else {**body, "model": name}
    good = ask(path.format(name=name), body, models=(name,))
    assert good.status_code == 200, good.text
    openapi.check(ask("/openapi.json", None).json(), path, good)
    bad = ask(path.format(name=name), body, models=("another",))
    assert (bad.status_code, bad.json()["type"]) == (403, "/problems/forbidden")


@pytest.mark.parametrize(("field", "name"), [("pose", POSES), ("caption_crops", "blip2-t5")])
def test_a_second_model_of_a_request_is_asked_for_too(
    field: str, name: str, ask: Callable[..., Any]
) -> None:
    detector = "ssd-mobilenet-v2-coco"
    body = {**IMAGES, "model": detector, field: name}
    assert ask("/v1/detect", body, models=(detector, name)).status_code == 200
    assert ask("/v1/detect", body, models=(detector,)).status_code == 403


@pytest.mark.parametrize("path", ["/v1/search", "/v1/rows"])
def test_an_index_is_for_whom_it_is_named_to(path: str, ask: Callable[..., Any]) -> None:
    body = {"text": "a dog", "index": "texts"} if path == "/v1/search" else None
    words = "" if body else "?index=texts"
    good = ask(path + words, body, indexes=("texts",))
    assert good.status_code == 200
    openapi.check(ask("/openapi.json", None).json(), path, good)
    assert ask(path + words, body, indexes=("other",)).status_code == 403


def test_a_picture_of_a_bucket_is_seen_where_the_key_allows_it(
    bucket: str, ask: Callable[..., Any]
) -> None:
    def found(key: str) -> Any:
        body = {"images": [{"uri": f"s3://{bucket}/{key}"}], "model": DETECTOR}
        return ask("/v1/detect", body, s3=(f"s3://{bucket}/open/",))

    of_bytes = ask("/v1/detect", {**IMAGES, "model": DETECTOR}).json()["results"]
    assert found("open/1.jpg").json()["results"] == of_bytes
    refused = found("closed/1.jpg")
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/uri-refused")


@pytest.mark.parametrize(("burst", "second"), [(6, 429), (12, 200)])
def test_pictures_of_a_request_count_towards_the_rate(
    burst: int, second: int, server: Running, keys: Path
) -> None:
    made = make("slow", rate=Rate(per_s=0.001, burst=burst))
    key_file.add(keys, made.key)
    headers = {"authorization": f"Bearer {made.token}"}
    body = {"images": IMAGES["images"] * 6, "model": DETECTOR}
    answers = [server.client.post("/v1/detect", json=body, headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, second]


def test_a_picture_of_too_many_pixels_is_refused(ask: Callable[..., Any]) -> None:
    file = BytesIO()
    Image.new("L", (1001, 1000)).save(file, "PNG")
    large = base64.b64encode(file.getvalue()).decode()
    refused = ask("/v1/detect", {"images": [{"data": large}], "model": DETECTOR})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unreadable-picture")
    assert "pixels" in refused.json()["detail"]
