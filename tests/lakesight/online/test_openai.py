"""The real `openai` client: chats about a picture, streams, embeddings, and its own errors."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from tests.serving import Running


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[openai.OpenAI]:
    url = f"{served.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def said(text: str | None, url: str) -> Any:
    words = [] if text is None else [{"type": "text", "text": text}]
    return [{"role": "user", "content": [*words, {"type": "image_url", "image_url": {"url": url}}]}]


def post(served: Running, path: str, url: str, **asked: Any) -> Any:
    image = {"data": url}
    (result,) = served.client.post(f"/v1/{path}", json={"images": [image], **asked}).json()[
        "results"
    ]
    return result


def test_a_question_is_answered(client: openai.OpenAI, served: Running, url: str) -> None:
    done = client.chat.completions.create(model="blip2-t5", messages=said("what is it?", url))
    answers = post(served, "vqa", url, model="blip2-t5", questions=["what is it?"])["answers"]
    (choice,) = done.choices
    assert choice.message.content == answers[0]["answer"]
    assert choice.message.role == "assistant"
    assert done.usage
    assert done.usage.prompt_tokens > 0
    cut = client.chat.completions.create(
        model="blip2-t5", messages=said("what is it?", url), max_tokens=1
    )
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage
    assert cut.usage.completion_tokens == 1
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


@pytest.mark.parametrize("text", [None, "", "Describe this picture.", "caption it"])
def test_a_description_is_a_caption(
    client: openai.OpenAI, served: Running, url: str, text: str | None
) -> None:
    done = client.chat.completions.create(model="blip2-t5", messages=said(text, url))
    caption = post(served, "caption", url, model="blip2-t5")["caption"]
    assert done.choices[0].message.content == caption


def test_a_model_that_only_writes_goes_on(client: openai.OpenAI, served: Running, url: str) -> None:
    done = client.chat.completions.create(model="blip", messages=said("a photo of", url))
    caption = post(served, "caption", url, model="blip", prompt="a photo of")["caption"]
    assert done.choices[0].message.content == caption


def test_the_last_message_of_the_user_counts(
    client: openai.OpenAI, served: Running, url: str
) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        *said("who?", "data:image/png;base64,AAAA"),
        {"role": "assistant", "content": "nobody"},
        *said("what is it?", url),
    ]
    done = client.chat.completions.create(model="blip2-t5", messages=messages)
    answers = post(served, "vqa", url, model="blip2-t5", questions=["what is it?"])["answers"]
    assert done.choices[0].message.content == answers[0]["answer"]


def test_a_stream_adds_up(client: openai.OpenAI, url: str) -> None:
    asked: Any = {"model": "blip2-t5", "messages": said("describe", url), "n": 2}
    whole = client.chat.completions.create(**asked)
    usage: Any = {"include_usage": True}
    texts, reasons, last = ["", ""], [None, None], None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options=usage):
        last = chunk
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert last
    assert last.usage == whole.usage


def test_a_caption_can_be_drawn_and_cut(client: openai.OpenAI, served: Running, url: str) -> None:
    asked: Any = {"model": "blip2-t5", "messages": said(None, url), "seed": 3, "temperature": 1.5}
    done = client.chat.completions.create(**asked, max_tokens=4)
    assert done.usage
    assert done.usage.completion_tokens == 4  # and none of the picture's
    assert done.choices[0].finish_reason == "length"
    drawn = {"do_sample": True, "seed": 3, "temperature": 1.5, "max_new_tokens": 4}
    assert (
        done.choices[0].message.content
        == post(served, "caption", url, model="blip2-t5", **drawn)["caption"]
    )


def test_texts_and_pictures_are_embedded(client: openai.OpenAI, served: Running, url: str) -> None:
    done = client.embeddings.create(model="clip", input=["a red bus", url, "two dogs"])
    texts = served.client.post(
        "/v1/embed", json={"model": "clip", "texts": ["a red bus", "two dogs"]}
    ).json()["results"]
    picture = post(served, "embed", url, model="clip")["embedding"]
    expected = [texts[0]["embedding"], picture, texts[1]["embedding"]]
    assert np.array_equal(
        np.array([one.embedding for one in done.data], np.float32), np.array(expected, np.float32)
    )
    assert [one.index for one in done.data] == [0, 1, 2]
    plain = client.embeddings.create(model="clip", input="a red bus", encoding_format="float")
    alone = served.client.post("/v1/embed", json={"model": "clip", "texts": ["a red bus"]}).json()
    assert plain.data[0].embedding == alone["results"][0]["embedding"]
    assert plain.usage.total_tokens == 3


def test_pictures_to_embed_are_counted(client: openai.OpenAI, url: str) -> None:
    """As everywhere: no list of inputs is a way around the cap and the rate."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="clip", input=["a red bus", *[url] * 5])
    assert caught.value.status_code == 413


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = [one.id for one in client.models.list()]
    assert "blip2-t5" in names
    assert client.models.retrieve("clip").owned_by == "lakesight"


BAD: dict[str, tuple[type[openai.APIStatusError], dict[str, Any]]] = {
    "no model": (openai.NotFoundError, {"model": "gpt"}),
    "no picture": (
        openai.UnprocessableEntityError,
        {"messages": [{"role": "user", "content": "hi"}]},
    ),
    "two answers": (openai.UnprocessableEntityError, {"n": 2}),
    "an end": (openai.UnprocessableEntityError, {"stop": ["."]}),
    "a model that sees": (openai.UnprocessableEntityError, {"model": "clip"}),
    "no base64": (
        openai.UnprocessableEntityError,
        {"messages": said("who?", "data:image/png;base64,AAAA")},
    ),
    "an address": (
        openai.PermissionDeniedError,
        {"messages": said("who?", "https://a.example/b.jpg")},
    ),
    "no role": (openai.UnprocessableEntityError, {"messages": [{"role": "king", "content": "hi"}]}),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_the_clients_own(client: openai.OpenAI, url: str, name: str) -> None:
    kind, changed = BAD[name]
    asked: Any = {"model": "blip2-t5", "messages": said("who?", url), **changed}
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**asked)
    body: Any = caught.value.body
    assert body["message"] == caught.value.response.json()["detail"]
    assert body["message"] in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"model": "efficientnet-lite3"}, openai.UnprocessableEntityError),
        ({"input": []}, openai.UnprocessableEntityError),
        ({"input": [""]}, openai.UnprocessableEntityError),
        ({"input": ["a" * 8193]}, openai.UnprocessableEntityError),
        ({"input": [[1, 2]]}, openai.UnprocessableEntityError),
        ({"input": ["data:image/png;base64,AAAA"]}, openai.UnprocessableEntityError),
        ({"dimensions": 3}, openai.UnprocessableEntityError),
    ],
)
def test_what_cannot_be_embedded(
    client: openai.OpenAI, changed: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind):
        client.embeddings.create(**{"model": "clip", "input": ["a"], **changed})
