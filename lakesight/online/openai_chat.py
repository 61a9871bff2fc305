"""`POST /v1/chat/completions`, for OpenAI's clients: a picture and a text.

A text that asks for a description, or none, gives a caption; any other is a question to a model
that answers, or the beginning of a caption for one that only writes.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from lakesight.models.base import TextWriter
from lakesight.online.answering import as_json, results
from lakesight.online.asking import Picture, json_of, pictures
from lakesight.online.caption import MAX_TOKENS
from lakesight.online.documents import EXAMPLE_DATA, body
from lakesight.online.offers import varied
from lakesight.online.openai_schema import ChatCompletion, ChatRequest, Message
from lakesight.online.openai_stream import MEDIA_TYPE, events
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Sent, Step
from lakesight.online.visit import Visit, visit

router = APIRouter(tags=["openai"], responses=RESPONSES)

DESCRIBE = ("describe", "caption")
"""How a text begins that asks for a caption."""


class Chat(NamedTuple):
    """What was written about a picture, and how many tokens that took."""

    texts: list[str]
    usage: dict[str, int]
    reasons: list[str]
    """Why each text ends: "stop", or "length" where it was cut."""


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
        here.count([sent])
        found = await _written(here, asked, text, sent)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
    if asked.stream:
        tells = asked.stream_options is not None and asked.stream_options.include_usage
        stream = events(head, found.texts, found.reasons, found.usage if tells else None)
        return StreamingResponse(stream, media_type=MEDIA_TYPE)
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "finish_reason": reason,
            "logprobs": None,
        }
        for index, (text, reason) in enumerate(zip(found.texts, found.reasons, strict=True))
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
        read = text if answers else prompt
        model = opened.model
        assert isinstance(model, TextWriter), "whatever captions or answers is one"
        num_read, *lengths = await opened.call(lambda: model.lengths([read or "", *texts]))
    most = spec.options["max_new_tokens"]
    written = sum(min(one, most) for one in lengths)  # other tokens may make the same words
    usage = {
        "prompt_tokens": num_read,
        "completion_tokens": written,
        "total_tokens": num_read + written,
    }
    return Chat(texts, usage, ["length" if one >= most else "stop" for one in lengths])


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
