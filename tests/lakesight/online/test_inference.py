"""The Open Inference Protocol for detectors, as its REST specification (v2) describes it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lakesight.masks import Rle, decode
from tests.lakesight.online.conftest import encoded
from tests.serving import Running, running

INFER = "/v2/models/{}/infer"
DTYPES = {"FP32": np.float32, "INT32": np.int32}


def files(*data: bytes, **more: Any) -> dict[str, Any]:
    packed = [base64.b64encode(one).decode() for one in data]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": packed}
    return {"inputs": [tensor], **more}


def outputs(answer: Any) -> dict[str, Any]:
    """Return the tensors by name, numbers as arrays of their shape."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = {}
    for one in answer.json()["outputs"]:
        assert set(one) == {"name", "shape", "datatype", "data"}
        assert len(one["data"]) == np.prod(one["shape"])
        data = one["data"]
        if one["datatype"] in DTYPES:
            data = np.array(data, DTYPES[one["datatype"]]).reshape(one["shape"])
        found[one["name"]] = data
    return found


def detected(served: Running, name: str, *data: bytes) -> list[list[dict[str, Any]]]:
    sent = [("f", (str(place), one)) for place, one in enumerate(data)]
    answer = served.client.post(f"/v1/detect?model={name}", files=sent).json()
    return [one["detections"] for one in answer["results"]]


def test_server_and_model_say_what_they_are(served: Running) -> None:
    client = served.client
    assert client.get("/v2").json()["name"] == "lakesight"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/starter-yolo-pose/ready").json()["ready"] is True
    said = client.get("/v2/models/starter-yolo-pose").json()
    assert set(said) == {"name", "versions", "platform", "inputs", "outputs"}
    assert said["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    names = ["counts", "boxes", "scores", "class_ids", "labels", "keypoints"]
    assert [one["name"] for one in said["outputs"]] == names


@pytest.mark.parametrize("name", ["starter-yolo-detect", "ssd-mobilenet-v2-coco"])
def test_objects_of_several_pictures_are_one_list(served: Running, name: str) -> None:
    data = [encoded(3), encoded(4), encoded(5, "PNG")]
    answer = served.client.post(INFER.format(name), json=files(*data, id="mine"))
    assert (answer.json()["model_name"], answer.json()["id"]) == (name, "mine")
    assert (
        answer.json()["model_version"] in served.client.get(f"/v2/models/{name}").json()["versions"]
    )
    found = outputs(answer)
    every = detected(served, name, *data)
    flat = [one for objects in every for one in objects]
    assert found["counts"].tolist() == [len(objects) for objects in every]
    assert found["boxes"].shape == (len(flat), 4)
    assert (
        found["boxes"].tolist()
        == np.array([one["box"] for one in flat], np.float32).reshape(-1, 4).tolist()
    )
    assert found["scores"].tolist() == np.array([one["score"] for one in flat], np.float32).tolist()
    assert found["class_ids"].tolist() == [one["class_id"] for one in flat]
    assert found["labels"] == [one["label"] for one in flat]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("starter-yolo-pose", "keypoints"),
        ("starter-yolo-obb", "obb"),
        ("starter-yolo-segment", "mask"),
    ],
)
def test_other_tasks_give_more(served: Running, name: str, field: str, jpeg: bytes) -> None:
    found = outputs(served.client.post(INFER.format(name), json=files(jpeg)))
    (objects,) = detected(served, name, jpeg)
    assert objects, "the picture has objects for this task"
    if field == "mask":
        rles = [Rle((120, 160), counts) for counts in found["mask"]]
        assert [decode(one).shape for one in rles] == [(120, 160)] * len(objects)
        assert found["mask"] == [one["mask"]["counts"] for one in objects]
    else:
        assert (
            found[field].tolist() == np.array([one[field] for one in objects], np.float32).tolist()
        )


def test_only_the_outputs_that_are_asked_for(served: Running, jpeg: bytes) -> None:
    asked = files(jpeg, outputs=[{"name": "scores"}, {"name": "counts"}])
    answer = served.client.post(INFER.format("starter-yolo-detect"), json=asked)
    assert [one["name"] for one in answer.json()["outputs"]] == ["scores", "counts"]


def binary(head: dict[str, Any], raw: bytes) -> dict[str, Any]:
    text = json.dumps(head).encode()
    length = {"inference-header-content-length": str(len(text))}
    return {"content": text + raw, "headers": length}


def test_bytes_may_follow_the_json(served: Running, jpeg: bytes) -> None:
    """The extension for binary data, as Triton Inference Server documents it."""
    data = [jpeg, encoded(4)]
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in data)
    tensor: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [2]}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    name = INFER.format("starter-yolo-detect")
    answer = served.client.post(name, **binary({"inputs": [tensor]}, raw))
    assert answer.json() == served.client.post(name, json=files(*data)).json()


def test_pixels_are_looked_at_as_they_are(served: Running) -> None:
    pixels = np.zeros((2, 24, 32, 3), np.uint8)
    pixels[:, 8:16, 8:20] = 255
    tensor: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape)}
    name = INFER.format("starter-yolo-detect")
    nested = served.client.post(name, json={"inputs": [{**tensor, "data": pixels.tolist()}]})
    flat = served.client.post(name, json={"inputs": [{**tensor, "data": pixels.ravel().tolist()}]})
    sized = {**tensor, "parameters": {"binary_data_size": pixels.size}}
    raw = served.client.post(name, **binary({"inputs": [sized]}, pixels.tobytes()))
    assert nested.json() == flat.json() == raw.json()
    counts = outputs(nested)["counts"]
    assert counts[0] == counts[1]


GOOD = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}
PIXELS = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [0] * 6}


@pytest.mark.parametrize(
    ("inputs", "status"),
    [
        ([GOOD], 422),
        ([], 422),
        ([GOOD, GOOD], 422),
        ([{**GOOD, "name": "picture"}], 422),
        ([{**GOOD, "datatype": "FP64"}], 422),
        ([{**GOOD, "shape": [2]}], 422),
        ([{**GOOD, "shape": [5], "data": ["AAAA"] * 5}], 413),
        ([{**GOOD, "data": [1]}], 422),
        ([{**GOOD, "data": [["QQ=="], 5]}], 422),
        ([{**PIXELS, "data": [0] * 5}], 422),
        ([{**PIXELS, "data": [256] * 6}], 422),
        ([{**PIXELS, "data": [0.5] * 6}], 422),
        ([{**PIXELS, "data": ["a"] * 6}], 422),
        ([{**PIXELS, "shape": [1, 6]}], 422),
        ([{**PIXELS, "shape": [1, -1, 2, 3]}], 422),
        ([{**PIXELS, "shape": [1, 9999999, 2, 3]}], 422),
    ],
)
def test_what_does_not_fit(served: Running, inputs: list[Any], status: int) -> None:
    answer = served.client.post(INFER.format("starter-yolo-detect"), json={"inputs": inputs})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("length", "size", "raw", "status"),
    [
        ("x", 7, b"\x03\0\0\0abc", 400),
        ("99999", 7, b"\x03\0\0\0abc", 400),
        ("9" * 5000, 7, b"\x03\0\0\0abc", 400),
        (None, 6, b"\x03\0\0\0abc", 422),
        (None, 7, b"\x04\0\0\0abc", 422),
        (None, 3, b"\x04\0\0", 422),
    ],
)
def test_bytes_that_do_not_fit(
    served: Running, length: str | None, size: int, raw: bytes, status: int
) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    sent = binary({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}, raw)
    if length is not None:
        sent["headers"] = {"inference-header-content-length": length}
    answer = served.client.post(INFER.format("starter-yolo-detect"), **sent)
    assert answer.status_code == status, answer.text


def test_only_detectors_are_there(served: Running) -> None:
    assert served.client.get("/v2/models/clip").status_code == 422
    assert served.client.get("/v2/models/none/ready").status_code == 404
    assert served.client.post(INFER.format("none"), json=files(b"a")).status_code == 404


def test_detectors_that_make_room_for_each_other_are_answered(jpeg: bytes) -> None:
    """What a detector gives is known while it is there: afterwards another may have its place."""
    names = ["starter-yolo-detect", "starter-yolo-pose"]
    with (
        running(models=names, max_loaded=1) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        said = server.client.get("/v2/models/starter-yolo-pose").json()
        assert "keypoints" in [one["name"] for one in said["outputs"]]  # though it was not loaded
        asked = [
            pool.submit(server.client.post, INFER.format(one), json=files(jpeg))
            for one in names * 2
        ]
        assert {one.result().status_code for one in asked} == {200}
