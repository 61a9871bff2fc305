"""The page at `/`: files of this package, under an address that changes whenever one of them does.

`index.html` names the others as `page/VERSION/…`, VERSION being a digest of them all, and they
name each other relative to themselves: browsers keep them for good, and mix no two versions.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lakesight.online.problems import Problem

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
FOR_GOOD = "public, max-age=31536000, immutable"
INDEX = "index.html"


class File(NamedTuple):
    """One file of the page."""

    data: bytes
    packed: bytes
    """The same by gzip."""
    media_type: str


class Page(NamedTuple):
    """All files of the page, by name."""

    version: str
    files: dict[str, File]


@cache
def page() -> Page:
    """Return the page; its files are read once."""
    folder = files("lakesight.online") / "page"
    found = {one.name: one.read_bytes() for one in folder.iterdir() if _ending(one.name) in TYPES}
    told = b"".join(name.encode() + b"\0" + found[name] for name in sorted(found))
    version = hashlib.sha256(told).hexdigest()[:16]
    found[INDEX] = found[INDEX].replace(b"VERSION", version.encode())
    return Page(version, {name: _file(name, data) for name, data in found.items()})


async def index(request: Request) -> Response:
    """Return the page itself, which is looked at anew each time."""
    headers = {"Cache-Control": "no-cache", "ETag": f'"{page().version}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _response(request, page().files[INDEX], headers)


async def part(request: Request) -> Response:
    """Return a file that the page needs."""
    version, name = request.path_params["version"], request.path_params["name"]
    if version != page().version or name not in page().files:
        raise Problem("not-found", "the page has no such file: load the page again")
    return _response(request, page().files[name], {"Cache-Control": FOR_GOOD})


ROUTES = [
    Route("/", index, methods=["GET"]),
    Route("/page/{version}/{name}", part, methods=["GET"]),
]
"""To be mounted by the app; they need no key."""


def _file(name: str, data: bytes) -> File:
    return File(data, gzip.compress(data, mtime=0), TYPES[_ending(name)])


def _response(request: Request, file: File, headers: dict[str, str]) -> Response:
    headers = headers | {"Vary": "Accept-Encoding"}
    is_packed = "gzip" in request.headers.get("accept-encoding", "")
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    data = file.packed if is_packed else file.data
    return Response(data, media_type=file.media_type, headers=headers)


def _ending(name: str) -> str:
    return name.rpartition(".")[2]
