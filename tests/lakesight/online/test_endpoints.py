"""Classes, captions, answers, vectors and matches over HTTP, beside the model itself in Python."""

import base64
from typing import Any

import numpy as np
import pytest

import lakesight
from lakesight.models.image_text import ImageText
from lakesight.models.look import draw_view
from tests import openapi
from tests.serving import Running

RAW = {"content-type": "image/jpeg"}


def loaded(served: Running, name: str, **options: Any) -> Any:
    """Return the same model in Python."""

    async def folder() -> Any:
        async with served.service.visit() as shop:
            return shop.models[name].main.card.source

    return lakesight.load(served.call(folder()).uri, **options)


def post(served: Running, path: str, data: bytes, **asked: Any) -> dict[str, Any]:
    image = {"data": base64.b64encode(data).decode()}
    answer = served.client.post(f"/v1/{path}", json={"images": [image], **asked})
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return dict(result)


def test_classes_are_cut(served: Running, jpeg: bytes) -> None:
    every = post(served, "classify", jpeg)["classes"]
    assert len(every) == 5
    assert post(served, "classify", jpeg, top_k=2)["classes"] == every[:2]
    assert post(served, "classify", jpeg, model="efficientnet-lite3")["classes"][0]["label"]


def test_a_prompt_begins_a_caption(served: Running, jpeg: bytes) -> None:
    captioner = loaded(served, "blip2-t5", kind="caption", max_new_tokens=6, num_beams=2)
    free = post(served, "caption", jpeg, model="blip2-t5")["caption"]
    assert free == captioner.predict(jpeg)[0].value
    import pyarrow as pa

    begun = post(served, "caption", jpeg, model="blip2-t5", prompt="a red")["caption"]
    assert begun == captioner.predict(jpeg, prompt=pa.array(["a red"]))[0].value


def test_options_of_a_request_are_those_of_the_model(served: Running, jpeg: bytes) -> None:
    options = {"num_captions": 2, "num_beams": 3, "max_new_tokens": 4, "length_penalty": 0.5}
    found = post(served, "caption", jpeg, model="blip2-t5", **options)
    assert "caption" not in found
    captioner = loaded(served, "blip2-t5", kind="caption", **options)
    expected = captioner.predict(jpeg)[0].value
    assert [one["text"] for one in found["captions"]] == [one["text"] for one in expected]
    scores = [one["score"] for one in expected]
    assert [one["score"] for one in found["captions"]] == pytest.approx(scores, rel=1e-5)
    drawn = {"do_sample": True, "seed": 3, "top_p": 0.8, "temperature": 1.5, "max_new_tokens": 6}
    sampled = post(served, "caption", jpeg, model="blip2-t5", **drawn)["caption"]
    assert (
        sampled
        == loaded(served, "blip2-t5", kind="caption", num_beams=2, **drawn).predict(jpeg)[0].value
    )


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("caption", {"model": "blip2-t5", "num_captions": 4, "num_beams": 2}),
        ("caption", {"model": "blip2-t5", "num_beams": 9}),
        ("caption", {"model": "blip2-t5", "num_captions": 9}),
        ("caption", {"model": "blip2-t5", "prompt": ""}),
        ("caption", {"model": "blip2-t5", "prompt": " "}),
        ("caption", {"model": "blip2-t5", "prompt": "a " * 500}),
        ("vqa", {"model": "blip2-t5"}),
        ("vqa", {"model": "blip2-t5", "questions": [" "]}),
        ("vqa", {"model": "blip2-t5", "questions": ["who?"] * 17}),
        ("vqa", {"model": "blip2-t5", "questions": ["who?"], "candidates": []}),
        ("vqa", {"model": "blip", "questions": ["who?"]}),
        ("embed", {"texts": ["a"]}),
        ("embed", {"model": "efficientnet-lite3", "images": [], "texts": ["a"]}),
        ("match", {"model": "clip", "texts": []}),
        ("match", {"model": "efficientnet-lite3", "texts": ["a"]}),
    ],
)
def test_what_does_not_fit_is_said(
    served: Running, jpeg: bytes, path: str, asked: dict[str, Any]
) -> None:
    image = {"data": base64.b64encode(jpeg).decode()}
    answer = served.client.post(f"/v1/{path}", json={"images": [image], **asked})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid"), answer.text
    assert len(answer.json()["detail"]) > 10


def test_one_bad_question_spoils_no_other_request(served: Running, jpeg: bytes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    image = {"images": [{"data": base64.b64encode(jpeg).decode()}], "model": "blip2-t5"}
    asked = [["what?"], ["a " * 900], ["what?"], ["why?"]] * 4

    def ask(questions: list[str]) -> int:
        return served.client.post("/v1/vqa", json={**image, "questions": questions}).status_code

    with ThreadPoolExecutor(16) as threads:
        codes = list(threads.map(ask, asked))
    assert codes == [200, 422, 200, 200] * 4


def test_answers_are_chosen(served: Running, jpeg: bytes) -> None:
    asked = {"questions": ["who?", "what?"], "candidates": ["a cat", "a dog"]}
    found = post(served, "vqa", jpeg, model="blip2-t5", **asked)["answers"]
    assert [one["question"] for one in found] == ["who?", "what?"]
    assert {one["answer"] for one in found} <= {"a cat", "a dog"}
    assert all(0.5 <= one["score"] <= 1 for one in found), "the likelier one of two"


def test_texts_are_embedded(served: Running) -> None:
    texts = ["a red bus", "two dogs"]
    vectors = loaded(served, "clip").embed_text(texts)
    answer = served.client.post("/v1/embed", json={"model": "clip", "texts": texts}).json()
    assert [one["text"] for one in answer["results"]] == texts
    found = np.array([one["embedding"] for one in answer["results"]], np.float32)
    assert found == pytest.approx(vectors, abs=1e-6)
    packed = served.client.post(
        "/v1/embed", json={"model": "clip", "texts": texts, "encoding": "base64"}
    ).json()
    raw = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed["results"]]
    assert np.array_equal(np.stack(raw), found)


def test_vectors_of_pictures_are_packed(served: Running, jpeg: bytes) -> None:
    for name, column in (("efficientnet-lite3", "embedding"), ("clip", "embedding")):
        plain = post(served, "embed", jpeg, model=name)[column]
        packed = post(served, "embed", jpeg, model=name, encoding="base64")[column]
        assert np.array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.float32(plain))


@pytest.mark.parametrize("name", ["clip", "blip2-itc", "blip-itm"])
def test_pictures_are_held_against_texts(served: Running, jpeg: bytes, name: str) -> None:
    texts = ["a red bus", "two dogs"]
    files = [("f", ("1", jpeg)), ("f", ("2", b"none")), ("f", ("3", jpeg))]
    answer = served.client.post(f"/v1/match?model={name}", files=files, data={"texts": texts})
    assert answer.status_code == 200, answer.text
    first, second, third = answer.json()["results"]
    assert first == third
    assert (second["status"], second["similarity"], second["match"]) == ("error", None, None)
    model = loaded(served, name).model
    assert isinstance(model, ImageText)
    view = draw_view(jpeg, model.view).pixels
    assert first["similarity"] == pytest.approx(model.similarity([view], texts)[0], abs=1e-6)
    if name == "clip":
        assert first["match"] is None
    else:
        expected = [float(model.match([view], [text])[0]) for text in texts]
        assert first["match"] == pytest.approx(expected, abs=1e-6)


def test_too_many_pairs_are_refused(served: Running, jpeg: bytes) -> None:
    files = [("f", (str(number), jpeg)) for number in range(5)]
    answer = served.client.post(
        "/v1/match?model=clip", files=files[:4], data={"texts": ["a"] * 257}
    )
    assert answer.status_code == 422
    answer = served.client.post("/v1/match?model=clip", files=files, data={"texts": ["a"]})
    assert answer.status_code == 413
    asked = {"questions": ["a"] * 16, "candidates": ["b"] * 65}
    answer = served.client.post("/v1/vqa", files=files[:1], data=asked)
    assert answer.status_code == 422
    assert "1 pictures by 1040 texts are more than 1024 pairs" in answer.text


def test_models_are_listed(served: Running) -> None:
    listed = {one["id"]: one for one in served.client.get("/v1/models").json()["data"]}
    assert listed["efficientnet-lite3"]["kinds"] == ["classify", "embed"]
    assert listed["blip2-t5"]["kinds"] == ["caption", "answer", "caption_crops"]
    assert listed["starter-yolo-detect"]["labels"][:2] == ["circle", "square"]
    assert listed["starter-yolo-detect"]["loaded"]
    assert listed["starter-yolo-detect"]["runs_on"] == "torch on cpu"
    for name, one in listed.items():
        assert served.client.get(f"/v1/models/{name}").json() == one
    assert served.client.get("/v1/models/none").status_code == 404


def test_health(served: Running) -> None:
    assert served.client.get("/healthz").json() == {"status": "ok"}
    assert served.client.get("/readyz").json() == {"status": "ready"}


def test_every_route_says_what_it_takes(served: Running) -> None:
    said = served.client.get("/openapi.json").json()
    posts = {path: one["post"] for path, one in said["paths"].items() if "post" in one}
    paths = ("detect", "classify", "caption", "vqa", "embed", "match", "search", "embeddings")
    wanted = {f"/v1/{path}" for path in (*paths, "chat/completions")}
    assert {"/v2/models/{name}/infer", *wanted} <= posts.keys()
    for path, post in posts.items():
        content = post["requestBody"]["content"]
        examples = content["application/json"]["examples"]
        assert examples, path
        assert "200" in post["responses"], path


def test_the_examples_of_openapi_are_answered(served: Running) -> None:
    """Those that name no bucket and no other model; a picture of one pixel is a picture."""
    said = served.client.get("/openapi.json").json()
    names = {"blip2": "blip2-t5", "clip": "clip"}
    asked = 0
    for path, one in said["paths"].items():
        examples = one.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in examples.get("application/json", {}).get("examples", {}).items():
            value = example["value"]
            if "s3://" in str(value) or path == "/v1/search":
                continue
            if "model" in value:
                value["model"] = names.get(value["model"], value["model"])
            if path in ("/v1/embed", "/v1/match") and "texts" in value:
                value["model"] = "clip"
            answer = served.client.post(path.format(name="starter-yolo-detect"), json=value)
            assert answer.status_code == 200, (path, name, answer.text)
            openapi.check(said, path, answer)
            asked += 1
    assert asked >= 12
