"""The same question in every form has the same answer, and what is no question is refused."""

import base64
import json
from typing import Any

import pytest

from tests.serving import Running

RAW = {"content-type": "image/jpeg"}


def as_json(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode()}


def test_every_form_is_answered_alike(served: Running, jpeg: bytes) -> None:
    client, packed = served.client, as_json(jpeg)
    text = packed["data"]
    lines = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    url = {"data": f"data:image/jpeg;base64,{text}"}
    answers = [
        client.post("/v1/detect", content=jpeg, headers=RAW),
        client.post(
            "/v1/detect", content=jpeg, headers={"content-type": "application/octet-stream"}
        ),
        client.post("/v1/detect", files={"anything": ("a.jpg", jpeg)}),
        client.post("/v1/detect", json={"images": [packed]}),
        client.post("/v1/detect", json={"images": [{"data": lines}]}),
        client.post("/v1/detect", json={"images": [url]}),
        client.post("/v1/detect", files={"f": ("a", jpeg)}, data={"model": "starter-yolo-detect"}),
        client.post("/v1/detect?model=starter-yolo-detect", content=jpeg, headers=RAW),
        client.post("/v1/detect", files={"f": ("a", jpeg)}, data={"json": '{"min_score": 0.1}'}),
    ]
    assert {answer.status_code for answer in answers} == {200}, [one.text for one in answers]
    assert len({answer.text for answer in answers}) == 1
    (found,) = answers[0].json()["results"]
    assert [one["label"] for one in found["detections"]] == ["square", "square"]


def test_files_keep_their_order(served: Running, jpeg: bytes) -> None:
    files = [("x", ("1", jpeg)), ("y", ("2", b"none")), ("x", ("3", jpeg))]
    answer = served.client.post("/v1/detect", files=files).json()
    assert [one["status"] for one in answer["results"]] == ["ok", "error", "ok"]


def test_files_come_before_pictures_of_the_json_part(served: Running, jpeg: bytes) -> None:
    part = json.dumps({"images": [as_json(b"none")]})
    answer = served.client.post("/v1/detect", files={"f": ("a", jpeg)}, data={"json": part}).json()
    assert [one["status"] for one in answer["results"]] == ["ok", "error"]


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        ({"json": {}}, 422, "invalid"),
        ({"json": {"images": []}}, 422, "invalid"),
        ({"json": {"images": [{}]}}, 422, "invalid"),
        ({"json": {"images": [{"data": "AA", "uri": "s3://bucket/a"}]}}, 422, "invalid"),
        ({"json": {"images": [{"data": "AA"}] * 5}}, 413, "too-many-pictures"),
        ({"json": {"images": [{"uri": "s3://bucket/a"}] * 5}}, 413, "too-many-pictures"),
        ({"json": {"images": [{"data": "AA"}], "colour": 1}}, 422, "invalid"),
        ({"json": {"images": "AA"}}, 422, "invalid"),
        ({"json": []}, 400, "bad-json"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "bad-json"),
        (
            {"content": b"AA", "headers": {"content-type": "text/plain"}},
            415,
            "unsupported-media-type",
        ),
        ({"content": b"AA"}, 415, "unsupported-media-type"),
        (
            {"content": b"AA", "headers": {"content-type": "multipart/form-data"}},
            400,
            "bad-request",
        ),
        (
            {"content": b"AA", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "bad-request",
        ),
        ({"json": {"images": [{"data": "!"}]}}, 422, "unreadable-picture"),
        ({"json": {"images": [{"data": "\N{SNOWMAN}"}]}}, 422, "unreadable-picture"),
        ({"json": {"images": [{"data": "data:image/png,AAAA"}]}}, 422, "unreadable-picture"),
        ({"content": b"", "headers": RAW}, 422, "unreadable-picture"),
        ({"json": {"images": [{"uri": "s3://bucket/a.jpg"}]}}, 403, "uri-refused"),
        ({"json": {"images": [{"uri": "file:///etc/passwd"}]}}, 403, "uri-refused"),
        ({"json": {"images": [{"uri": "https://example.org/a.jpg"}]}}, 403, "uri-refused"),
        ({"json": {"images": [{"data": "AA"}], "model": "nothing"}}, 404, "not-found"),
        ({"json": {"images": [{"data": "AA"}], "model": "clip"}}, 422, "invalid"),
    ],
)
def test_what_is_refused(served: Running, sent: dict[str, Any], status: int, kind: str) -> None:
    answer = served.client.post("/v1/detect", **sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_where_all_are_broken_each_says_why(served: Running) -> None:
    answer = served.client.post("/v1/detect", json={"images": [as_json(b"a"), as_json(b"")]})
    assert answer.status_code == 422
    results = answer.json()["results"]
    assert [one["error"]["type"] for one in results] == ["unsupported format", "empty"]
    assert [one["detections"] for one in results] == [None, None]


def test_a_large_body_of_json_is_read(served: Running, jpeg: bytes) -> None:
    padded = as_json(jpeg + b"\0" * (3 << 20))  # what follows a JPEG is nothing to its readers
    answer = served.client.post("/v1/detect", json={"images": [padded]})
    small = served.client.post("/v1/detect", content=jpeg, headers=RAW)
    assert answer.json() == small.json()
