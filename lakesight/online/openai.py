"""Routes that OpenAI's clients know: `/v1/chat/completions` and `/v1/embeddings`.

A chat is one picture and a text. A text that asks for a description, or none, gives a caption; any
other is a question to a model that answers, or the beginning of a caption for one that only writes.
"""

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from lakesight.models.base import TextReader
from lakesight.online.answering import as_json, results
from lakesight.online.asking import Picture, json_of, pictures
from lakesight.online.caption import MAX_TOKENS
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.embed import MAX_CHARACTERS, MAX_TEXTS, embed_texts, packed
from lakesight.online.offers import varied
from lakesight.online.opened import Opened
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Sent, Step
from lakesight.online.values import encode
from lakesight.online.visit import Visit, visit

router = APIRouter(tags=["openai"], responses=RESPONSES)

DESCRIBE = ("describe", "caption")
"""How a text begins that asks for a caption."""


def _short_text(text: str) -> str:
    if len(text) > MAX_CHARACTERS and not text.startswith(PICTURE):
        raise ValueError(f"a text has at most {MAX_CHARACTERS} characters")
    return text


PICTURE = "data:image/"
Input = Annotated[str, Field(min_length=1), AfterValidator(_short_text)]


class Given(BaseModel):
    """What OpenAI's clients send; what is not known here is refused only where it would count."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class ImageUrl(Given):
    """Where a picture is."""

    url: str
    """A `data:image/…;base64,…` URI, or an address that the server allows."""
    detail: str | None = None


class Part(Given):
    """A part of a message."""

    type: Literal["text", "image_url"]
    text: str | None = Field(default=None, max_length=2000)
    image_url: ImageUrl | None = None


class Message(Given):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class StreamOptions(Given):
    """How a stream ends."""

    include_usage: bool = False


class ChatRequest(Given):
    """A picture and a text."""

    model: str = Field(max_length=128)
    messages: list[Message] = Field(min_length=1, max_length=64, fail_fast=True)
    """The last message of the user holds the picture and the text; others are not read."""
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int = Field(default=1, ge=1, le=8)
    """More than 1 gives the n best captions."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0, or left out: the likeliest text, by beam search. Above: drawn, of captions only."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None


class EmbeddingsRequest(Given):
    """Texts to embed."""

    model: str = Field(max_length=128)
    input: Input | Annotated[list[Input], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)]
    """A text or several; a `data:image/…;base64,…` URI is a picture."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    """As many as the model has, or left out."""


class Choice(BaseModel):
    """One text."""

    index: int
    message: dict[str, Any] = Field(examples=[{"role": "assistant", "content": "a red circle"}])
    finish_reason: str = "stop"


class Usage(BaseModel):
    """Tokens, those of the picture left out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """What was written."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Embedding(BaseModel):
    """One vector."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class Embeddings(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: dict[str, int]


class Chat(NamedTuple):
    """What was written about a picture, and how many tokens that took."""

    texts: list[str]
    usage: dict[str, int]


@router.post(
    "/v1/chat/completions",
    summary="Ask about a picture, as OpenAI's clients do",
    responses={200: {"model": ChatCompletion}},
    openapi_extra=body(
        ChatRequest,
        {
            "a question": {
                "model": "blip2",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What colour is the circle?"},
                            {
                                "type": "image_url",
                                "image_url": {"url": f"data:image/png;base64,{EXAMPLE_DATA}"},
                            },
                        ],
                    }
                ],
            }
        },
    ),
)
async def chat(request: Request) -> Response:
    """Return a caption, or an answer; with `stream`, word by word once it is found."""
    asked = await json_of(request, ChatRequest)
    text, picture = _last(asked.messages)
    (sent,) = await pictures(request, [picture])
    async with visit(request) as here:
        found = await _written(here, asked, text, sent)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
    if asked.stream:
        events = _events(head, found, asked.stream_options)
        return StreamingResponse(events, media_type="text/event-stream")
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
        for index, text in enumerate(found.texts)
    ]
    return as_json({**head, "object": "chat.completion", "choices": choices, "usage": found.usage})


def _last(messages: Sequence[Message]) -> tuple[str, Picture]:
    """Return the text and the one picture of the user's last message."""
    message = next((one for one in reversed(messages) if one.role == "user"), None)
    content = message.content if message else None
    parts = content if isinstance(content, list) else []
    urls = [part.image_url.url for part in parts if part.image_url is not None]
    if len(urls) != 1:
        raise Problem(
            "invalid", f"expected one picture in the user's last message, got {len(urls)}"
        )
    text = " ".join(part.text for part in parts if part.text).strip()
    url = urls[0]
    return text, Picture(data=url) if url.startswith("data:") else Picture(uri=url)


async def _written(here: Visit, asked: ChatRequest, text: str, sent: Sent) -> Chat:
    """Return the texts that a model writes about a picture."""
    describes = not text or text.lower().startswith(DESCRIBE)
    answers = "answer" in here.served(asked.model).specs and not describes
    if answers and (asked.n > 1 or asked.temperature):
        raise Problem("invalid", "an answer is the likeliest one: leave out n and temperature")
    _, spec = here.choose("answer" if answers else "caption", asked.model)
    spec = varied(spec, _options(asked, spec.options, drawn=not answers))
    prompt = None if answers or describes else text
    words = {"questions": [text]} if answers else {"prompt": prompt}
    (looked,) = await here.shop.look([sent], [Step(spec, [words])])
    results([looked], [])  # says why, where nothing was written
    (seen,) = looked.seen.values()
    if answers:
        texts = [one["answer"] for one in seen.value]
    else:
        texts = [seen.value] if asked.n == 1 else [one["text"] for one in seen.value]
    async with here.shop.using(spec) as opened:
        usage = await opened.call(lambda: _usage(opened, text if answers else prompt, texts))
    return Chat(texts, usage)


def _options(asked: ChatRequest, known: Mapping[str, Any], *, drawn: bool) -> dict[str, Any]:
    """Return what a chat wants otherwise than the server's settings have it."""
    options: dict[str, Any] = {}
    limit = asked.max_completion_tokens or asked.max_tokens
    if limit is not None:
        options["max_new_tokens"] = min(limit, MAX_TOKENS)
    if drawn and asked.n > 1:
        options |= {"num_captions": asked.n, "num_beams": max(known["num_beams"], asked.n)}
    if drawn and asked.temperature:
        options |= {"do_sample": True, "temperature": asked.temperature}
        if asked.top_p is not None:
            options["top_p"] = asked.top_p
        if asked.seed is not None:
            options["seed"] = asked.seed
    return options


def _usage(opened: Opened, prompt: str | None, texts: Sequence[str]) -> dict[str, int]:
    """Return how many tokens were read and written."""
    before = _num_tokens(opened, [prompt] if prompt else [])
    after = _num_tokens(opened, [text for text in texts if text.strip()])
    return {
        "prompt_tokens": before,
        "completion_tokens": after,
        "total_tokens": before + after,
    }


def _num_tokens(opened: Opened, texts: Sequence[str]) -> int:
    if not isinstance(opened.model, TextReader):
        return 0
    try:
        return sum(len(tokens) for tokens in opened.model.tokens(texts))
    except ValueError:  # what was written is longer than a prompt may be
        return sum(len(text.split()) for text in texts)


async def _events(
    head: dict[str, Any], found: Chat, options: StreamOptions | None
) -> AsyncIterator[bytes]:
    """Yield server-sent events: the role, the words, the end."""

    def event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
        return b"data: " + encode(chunk) + b"\n\n"

    def delta(index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return event([{"index": index, "delta": delta, "finish_reason": reason}])

    for index, text in enumerate(found.texts):
        yield delta(index, {"role": "assistant", "content": ""})
        for word in words_of(text):
            yield delta(index, {"content": word})
        yield delta(index, {}, "stop")
    if options is not None and options.include_usage:
        yield event([], found.usage)
    yield b"data: [DONE]\n\n"


def words_of(text: str) -> list[str]:
    """Return the words of a text, each with the space before it: joined, they are the text."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


@router.post(
    "/v1/embeddings",
    summary="Embed texts, as OpenAI's clients do",
    responses={200: {"model": Embeddings}},
    openapi_extra=body(EmbeddingsRequest, {"texts": {"model": "clip", "input": ["a red bus"]}}),
)
async def embeddings(request: Request) -> Response:
    """Return the vectors of texts, and of pictures that are `data:` URIs."""
    asked = await json_of(request, EmbeddingsRequest)
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    is_picture = [one.startswith(PICTURE) for one in inputs]
    texts = tuple(one for one, other in zip(inputs, is_picture, strict=True) if not other)
    given = [Picture(data=one) for one, other in zip(inputs, is_picture, strict=True) if other]
    sent = await pictures(request, given)
    async with visit(request) as here:
        _, spec = here.choose("embed", asked.model)
        of_texts = iter(await embed_texts(here, spec, texts) if texts else [])
        looked = await here.shop.look(sent, [Step(spec)])
    for one in looked:
        results([one], [])  # a list of vectors has no place for an error
    of_pictures = iter([next(iter(one.seen.values())).value for one in looked])
    vectors = [next(of_pictures if other else of_texts) for other in is_picture]
    if asked.dimensions is not None and any(len(one) != asked.dimensions for one in vectors):
        raise Problem("invalid", f"the vectors have {len(vectors[0])} dimensions: leave it out")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": packed(vector) if asked.encoding_format == "base64" else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    num = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": num, "total_tokens": num}
    return as_json({"object": "list", "model": asked.model, "data": data, "usage": usage})
