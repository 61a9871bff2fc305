"""What a request asks: options and pictures, in whichever of four forms they were sent.

JSON with base64 or addresses, multipart/form-data, one picture as the body, or no picture at all.
Options may also stand in the query, so that `?draw=true` works with every form.
"""

import asyncio
import binascii
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, get_args, get_origin

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from lakesight.models.base import Frozen
from lakesight.online.access import caller_of
from lakesight.online.bodies import hold
from lakesight.online.json_bodies import JsonLimits, parse
from lakesight.online.opened import Fault
from lakesight.online.problems import Problem, invalid
from lakesight.online.shop import Sent
from lakesight.online.sources import SourceError, Sources

MAX_PARTS = 1000
"""Of a form, fields and files each."""
IN_A_THREAD = 1 << 20
"""Bytes from which on it is read in a thread: others would wait for it."""
FORM, JSON = "multipart/form-data", "application/json"

Asked = TypeVar("Asked", bound="Ask")
Model = TypeVar("Model", bound=BaseModel)
CheckAmount = Callable[[int], None]
"""Raises Problem for more pictures than a request may have."""
Fetch = Callable[[Request, str], Coroutine[Any, Any, Sent]]
"""Returns the picture at an address, or why there is none; raises Problem where that is refused."""


class Picture(Frozen):
    """One picture: its bytes, or where they are."""

    data: str | None = None
    """The encoded file (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF) in base64, or its `data:` URI."""
    uri: str | None = Field(default=None, max_length=2048)
    """An address that the server allows, such as `s3://bucket/key.jpg`."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.data is None) == (self.uri is None):
            raise ValueError("expected either data or uri")
        return self


class Ask(Frozen):
    """What every endpoint is asked."""

    model_config = ConfigDict(str_max_length=8192)

    model: str | None = Field(default=None, max_length=128)
    """As `/v1/models` lists it; the first that can do this unless given."""


class AskOfPictures(Ask):
    """What is asked of pictures."""

    images: tuple[Picture, ...] = Field(default=(), fail_fast=True)
    """The pictures; in the other forms they are files, or the body itself."""


async def read(request: Request, kind: type[Asked]) -> tuple[Asked, list[Sent]]:
    """Return what was asked, and the pictures that came with it, in order.

    Raises Problem for what is no such request.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given: dict[str, Any] = _gathered(request.query_params.multi_items(), kind)
    sent: list[Sent] = []
    if media_type == JSON:
        body = await request.body()
        given |= await _in_a_thread_if(len(body) > IN_A_THREAD, lambda: object_of(body))
    elif media_type == FORM:
        fields, sent = await _form(request)
        given |= _gathered(fields, kind)
    elif media_type.startswith("image/") or media_type == "application/octet-stream":
        sent = [Sent(await request.body())]
    else:
        raise Problem(
            "unsupported-media-type", f"expected {JSON}, {FORM} or image/*, got {media_type!r}"
        )
    asked = checked(kind, given)
    if isinstance(asked, AskOfPictures):
        check: CheckAmount = request.app.state.check_amount
        check(len(sent) + len(asked.images))  # before any is fetched
        sent += await pictures(request, asked.images)
    elif sent:
        raise Problem("invalid", "this takes no pictures")
    return asked, sent


async def json_of(request: Request, kind: type[Model]) -> Model:
    """Return a body that is JSON and nothing else; Problem for what it is not."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise Problem("unsupported-media-type", f"expected {JSON}, got {media_type!r}")
    body = await request.body()
    return checked(kind, await _in_a_thread_if(len(body) > IN_A_THREAD, lambda: object_of(body)))


def checked(kind: type[Model], given: Mapping[str, Any]) -> Model:
    """Return what was asked, or raise Problem."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid(error.errors(include_input=False, include_url=False)) from None


async def pictures(request: Request, given: Sequence[Picture]) -> list[Sent]:
    """Return the pictures that a JSON body holds or names; addresses are fetched at once."""
    fetch: Fetch = request.app.state.fetch
    size = sum(len(one.data or "") for one in given)

    def decoded() -> list[Sent | None]:
        return [None if one.data is None else unpacked(one.data) for one in given]

    found = await _in_a_thread_if(size > IN_A_THREAD, decoded)
    rest = iter(await _all(fetch(request, one.uri) for one in given if one.uri is not None))
    return [next(rest) if one is None else one for one in found]


async def _all(fetches: Iterable[Coroutine[Any, Any, Sent]]) -> list[Sent]:
    """Return what they give; the first that raises ends the others, and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in fetches]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def unpacked(text: str) -> Sent:
    """Return the picture that base64, or a `data:` URI, holds."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            return _broken("expected data:image/…;base64,…")
    try:
        return Sent(binascii.a2b_base64(text, strict_mode=False))
    except ValueError as error:
        return _broken(f"it is no base64: {error}")


def fetching(sources: Sources) -> Fetch:
    """Return what reads addresses, where the server and the caller's key allow them."""

    async def fetch(request: Request, uri: str) -> Sent:
        try:
            data = await sources.read(uri, caller_of(request))
            hold(len(data))
            return Sent(data)
        except SourceError as error:
            return Sent(error=Fault("fetch", error.reason, str(error)))

    return fetch


def _broken(why: str) -> Sent:
    return Sent(error=Fault("decode", "undecodable", why))


def object_of(body: bytes) -> dict[str, Any]:
    """Return the object that JSON holds, or raise Problem."""
    found = parse(body, JsonLimits())
    if not isinstance(found, dict):
        raise Problem("bad-json", "the body is JSON, and no object")
    return found


Result = TypeVar("Result")


async def _in_a_thread_if(large: bool, function: Callable[[], Result]) -> Result:
    return await asyncio.to_thread(function) if large else function()


class _InMemory(MultiPartParser):
    """Keeps files in memory: the body's size is capped before it comes here."""

    spool_max_size = 1 << 40

    def __init__(self, headers: Headers, body: bytes) -> None:
        super().__init__(headers, self._whole(body), max_files=MAX_PARTS, max_fields=MAX_PARTS)
        self.is_whole = False

    def on_end(self) -> None:
        """Note that the last boundary came."""
        self.is_whole = True

    async def _whole(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the body; Starlette would take a form that is cut off for a shorter one."""
        yield body
        if not self.is_whole:
            raise MultiPartException("the form ends before its last boundary")


Parts = tuple[list[tuple[str, str]], list[Sent]]


async def _form(request: Request) -> Parts:
    """Return the fields of a form, and its files in order, whatever their fields are called."""
    body = await request.body()
    if len(body) <= IN_A_THREAD:
        return await _parts(request.headers, body)
    return await asyncio.to_thread(lambda: asyncio.run(_parts(request.headers, body)))


async def _parts(headers: Headers, body: bytes) -> Parts:
    _check_boundaries(headers, body)
    try:
        form = await _InMemory(headers, body).parse()
    except MultiPartException as error:
        raise Problem("bad-request", error.message) from None
    except (UnicodeError, LookupError):
        raise Problem("bad-request", "the form is not in the charset that it names") from None
    fields: list[tuple[str, str]] = []
    sent: list[Sent] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            sent.append(Sent(await value.read()))
            await value.close()
        else:
            fields.append((name, value))
    return fields, sent


def _check_boundaries(headers: Headers, body: bytes) -> None:
    """Raise Problem for a form with more boundaries than it may have parts.

    What only begins like a boundary is looked at in Python: 64 MB of that would take a thread for
    13 seconds.
    """
    _, options = parse_options_header(headers["content-type"])
    boundary = options.get(b"boundary")
    if boundary and (count := body.count(b"\r\n--" + boundary)) > 2 * MAX_PARTS + 1:
        raise Problem(
            "bad-request",
            f"the form has its boundary {count:,} times: expected at most {MAX_PARTS:,} fields and "
            f"as many files, and a boundary that is nowhere in them",
        )


def _gathered(fields: Sequence[tuple[str, str]], kind: type[Ask]) -> dict[str, Any]:
    """Return text fields as what JSON would hold; a field named `json` is JSON of them all."""
    found: dict[str, Any] = {}
    for name, value in fields:
        if name == "json":
            found |= object_of(value.encode("utf-8", "surrogatepass"))  # which JSON refuses
        elif name in kind.model_fields and _is_several(kind.model_fields[name].annotation):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _is_several(annotation: Any) -> bool:
    """Return whether a field is a list, or may be one, whatever else is said of it."""
    if get_origin(annotation) in {tuple, list}:
        return True
    return any(map(_is_several, get_args(annotation)))
