"""A chat as a stream: the server-sent events that OpenAI's clients put together again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from lakesight.online.values import encode

MEDIA_TYPE = "text/event-stream"


async def events(
    head: Mapping[str, Any],
    texts: Sequence[str],
    reasons: Sequence[str],
    usage: Mapping[str, int] | None,
) -> AsyncIterator[bytes]:
    """Yield events: of each text the role, the words, why it ends; then the usage, if it is given.

    `head` is what every chunk says: `id`, `created` and `model`.
    """
    for index, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
        yield _delta(head, index, {"role": "assistant", "content": ""})
        for word in _words(text):
            yield _delta(head, index, {"content": word})
        yield _delta(head, index, {}, reason)
    if usage is not None:
        yield _event(head, [], usage)
    yield b"data: [DONE]\n\n"


def _delta(
    head: Mapping[str, Any], index: int, delta: Mapping[str, Any], reason: str | None = None
) -> bytes:
    return _event(head, [{"index": index, "delta": delta, "finish_reason": reason}])


def _event(
    head: Mapping[str, Any],
    choices: Sequence[Mapping[str, Any]],
    usage: Mapping[str, int] | None = None,
) -> bytes:
    chunk = {**head, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return b"data: " + encode(chunk) + b"\n\n"


def _words(text: str) -> list[str]:
    """Return the words of a text, each with the space before it: joined, they are the text."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]
