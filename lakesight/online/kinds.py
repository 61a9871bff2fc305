"""The kinds of problems that a request can have, and what to do about each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PREFIX = "/problems/"
"""What every `type` begins with: a reference relative to the server."""


class Kind(NamedTuple):
    """One kind of problem: it is what `/problems/<name>` says."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "bad-request": Kind(
            400,
            "The request cannot be read",
            "The body or a header is not what its Content-Type or HTTP says. Send it again whole.",
        ),
        "bad-json": Kind(
            400,
            "The body is no JSON that is taken here",
            "JSON in UTF-8, without duplicate keys, NaN or Infinity, and not nested too deep.",
        ),
        "unauthenticated": Kind(
            401,
            "A valid API key is needed",
            "Send `Authorization: Bearer <key>`. `lakesight keys create` makes one.",
        ),
        "forbidden": Kind(
            403,
            "The key does not allow this",
            "Ask for a key with this model, index or s3:// prefix: `lakesight keys create -h`.",
        ),
        "cross-site": Kind(
            403,
            "The request comes from another site",
            "A page of another origin may not use this one's sign-in. Send an API key instead.",
        ),
        "uri-refused": Kind(
            403,
            "The picture's address is not allowed",
            "Pictures come from s3:// prefixes that the server and the key allow, and from https "
            "hosts only where the server's settings name them. Or send the bytes.",
        ),
        "not-found": Kind(
            404, "There is no such thing", "`/v1/models` and `/openapi.json` list what is."
        ),
        "method-not-allowed": Kind(
            405, "The method is not allowed here", "The header Allow names those that are."
        ),
        "not-acceptable": Kind(
            406,
            "No form of the answer fits",
            "Accept application/json, or send one picture where the answer is to be one.",
        ),
        "slow-request": Kind(
            408,
            "The body came too slowly",
            "Send it again over a faster line, or in smaller requests.",
        ),
        "too-large": Kind(
            413, "The body is too large", "Send fewer or smaller pictures in one request."
        ),
        "too-many-pictures": Kind(
            413, "Too many pictures in one request", "Send them in several requests."
        ),
        "uri-too-long": Kind(
            414, "The address is too long", "Send what is long in the body of a POST."
        ),
        "unsupported-media-type": Kind(
            415,
            "The body is of a type that is not taken here",
            "Send multipart/form-data or application/json.",
        ),
        "misdirected": Kind(
            421,
            "The request names another host",
            "This server answers only to the names in its settings; without keys, to localhost.",
        ),
        "invalid": Kind(
            422,
            "The request does not fit",
            "`errors` says where and why; `/openapi.json` what would fit.",
        ),
        "unreadable-picture": Kind(
            422,
            "No picture could be read",
            "`results` says for each why: its bytes, its size, or where it should have come from.",
        ),
        "rate-limited": Kind(
            429, "The key's rate is used up", "Wait as long as the header Retry-After says."
        ),
        "busy": Kind(
            429, "Too many requests are waiting", "Wait as long as the header Retry-After says."
        ),
        "headers-too-large": Kind(
            431, "The headers are too large", "Send fewer, or smaller, headers and cookies."
        ),
        "internal": Kind(
            500,
            "The server made a mistake",
            "Trying again may not help. Tell whoever runs it the request id.",
        ),
        "unavailable": Kind(
            503,
            "The server is not ready",
            "It starts, stops, or loads a model. Wait as long as the header Retry-After says.",
        ),
        "deadline": Kind(
            504,
            "The answer took too long",
            "Send fewer pictures in a request, or send it when the server is less busy.",
        ),
    }
)

OF_STATUS: Mapping[int, str] = MappingProxyType(
    {
        400: "bad-request",
        401: "unauthenticated",
        403: "forbidden",
        404: "not-found",
        405: "method-not-allowed",
        406: "not-acceptable",
        408: "slow-request",
        413: "too-large",
        414: "uri-too-long",
        415: "unsupported-media-type",
        422: "invalid",
        429: "busy",
        431: "headers-too-large",
        500: "internal",
        503: "unavailable",
        504: "deadline",
    }
)
"""The kind of a bare status, as Starlette, FastAPI and Ray Serve answer it."""


async def explain(request: Request) -> Response:
    """Say what a kind of problem is, and what to do: what its `type` points to."""
    from lakesight.online.problems import Problem

    name = request.path_params["name"]
    if name not in KINDS:
        raise Problem("not-found", "there is no problem of that name")
    kind = KINDS[name]
    return PlainTextResponse(f"{kind.title} ({kind.status})\n\n{kind.advice}\n")


ROUTES = [Route(PREFIX + "{name}", explain, methods=["GET"])]
"""To be mounted by the app; they need no key."""
