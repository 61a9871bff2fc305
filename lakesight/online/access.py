"""Who asks, and what they may: an API key, the cookie of a page that signed in, or nobody."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from lakesight.models.base import Frozen
from lakesight.online.key_file import KeyFile
from lakesight.online.keys import KEY, SESSION, Key, Scopes
from lakesight.online.origins import is_foreign
from lakesight.online.prefixes import Prefix, is_under
from lakesight.online.problems import Problem
from lakesight.online.rates import Buckets

EVERYTHING = Scopes(s3=(), metrics=True)
"""What nobody in particular may do where no keys are asked for: the server's own limits hold."""


OPEN_PATHS = ("/", "/favicon.ico", "/healthz", "/openapi.json", "/readyz", "/signin", "/signout")


class AccessSettings(Frozen):
    """Who may come in."""

    keys: Path | None
    """The file of API keys. None: nobody is asked (`--no-auth`), on loopback alone."""
    anyone: bool = False
    """Of `serve deploy`: without keys, let in whoever comes, by whichever name; what is in front is
    to ask who they are."""
    open_paths: tuple[str, ...] = OPEN_PATHS
    """Paths that need no key, exactly as they are written here."""
    open_folders: tuple[str, ...] = ("/page/", "/problems/")
    """What lies under these needs no key."""
    is_tls: bool = False
    """Whether browsers come by https, here or in front: the cookie is then `Secure`."""
    num_processes: int = Field(default=1, ge=1)
    """How many processes share the rates of the keys, at most: see `rates.Buckets`."""

    @property
    def cookie(self) -> str:
        """The cookie's name: under TLS one that no sub-domain and no plain http can set."""
        return "__Host-lakesight" if self.is_tls else "lakesight"


@dataclass(frozen=True)
class Caller:
    """Who asks. Endpoints find it by `caller_of`."""

    key: Key | None
    """None where no keys are asked for."""
    by: Literal["key", "session", "nobody"]
    buckets: Buckets

    @property
    def scopes(self) -> Scopes:
        """What the caller may use."""
        return self.key.scopes if self.key else EVERYTHING

    def require_model(self, name: str) -> None:
        """Raise Problem unless the model may be used. To be asked before whether it exists."""
        if not self.scopes.has_model(name):
            raise Problem("forbidden", "this key may not use that model")

    def require_index(self, name: str) -> None:
        """Raise Problem unless the index may be searched. To be asked before whether it exists."""
        if not self.scopes.has_index(name):
            raise Problem("forbidden", "this key may not search that index")

    def require_metrics(self) -> None:
        """Raise Problem unless `/metrics` may be read."""
        if not self.scopes.metrics:
            raise Problem("forbidden", "this key may not read metrics")

    def may_read(self, bucket: str, key: str, allowed: tuple[Prefix, ...]) -> bool:
        """Return whether an object lies under a prefix that the server allows, and the key too."""
        own = self.key is None or is_under(bucket, key, self.scopes.prefixes)
        return own and is_under(bucket, key, allowed)

    def charge(self, num_pictures: int) -> None:
        """Count the pictures of a request towards the key's rate, once they are known."""
        if self.key and self.key.rate and num_pictures > 1:
            self.buckets.charge(self.key.id, self.key.rate, num_pictures - 1)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who asks, as the middleware found."""
    caller: Caller = connection.scope["state"]["caller"]
    return caller


class Access:
    """Middleware that lets nobody in without a good key, and nobody more often than its rate."""

    def __init__(self, app: ASGIApp, settings: AccessSettings) -> None:
        """Read the keys. Raises UserError where they cannot be read."""
        self.app = app
        self.settings = settings
        self.keys = KeyFile(settings.keys) if settings.keys else None
        self.buckets = Buckets(settings.num_processes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, with its caller, or refuse it."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["access"] = self
            if not self.is_open(path_of(scope)):
                caller = self.identify(HTTPConnection(scope), scope["method"])
                scope["state"]["caller"] = caller
                self._count(caller)
        await self.app(scope, receive, send)

    def is_open(self, path: str) -> bool:
        """Return whether a path needs no key."""
        return path in self.settings.open_paths or path.startswith(self.settings.open_folders)

    def identify(self, connection: HTTPConnection, method: str) -> Caller:
        """Return who sent a request, by its headers, or raise Problem."""
        if self.keys is None:
            return self._anyone(connection.headers, method)
        given = connection.headers.getlist("authorization")
        if given:
            return self._by_key(self.keys, given)
        session = connection.cookies.get(self.settings.cookie)
        if session is None:
            raise unauthenticated("no API key came with the request")
        key = self.keys.find(session, SESSION)
        if key is None:
            raise unauthenticated("the sign-in has ended: open the sign-in link again")
        if is_foreign(connection.headers, method, needs_proof=True):
            raise Problem("cross-site", "a sign-in counts for requests of its own page alone")
        return Caller(key, "session", self.buckets)

    def _anyone(self, headers: Headers, method: str) -> Caller:
        if is_foreign(headers, method, needs_proof=False):
            raise Problem("cross-site", "without keys, pages of other sites are refused")
        return Caller(None, "nobody", self.buckets)

    def _by_key(self, keys: KeyFile, given: list[str]) -> Caller:
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise unauthenticated("expected one header `Authorization: Bearer <key>`")
        key = keys.find(token.strip(), KEY)
        if key is None:
            raise unauthenticated("the API key is not known, or has ended", "invalid_token")
        return Caller(key, "key", self.buckets)

    def _count(self, caller: Caller) -> None:
        if caller.key is None or caller.key.rate is None:
            return
        wait_s = self.buckets.wait_s(caller.key.id, caller.key.rate)
        if wait_s:
            raise Problem(
                "rate-limited",
                f"this key may ask {caller.key.rate.per_s:g} times a second",
                headers={"Retry-After": str(wait_s)},
            )


def unauthenticated(detail: str, error: str | None = None) -> Problem:
    """Return the problem of a request without a good key (RFC 6750, section 3)."""
    challenge = 'Bearer realm="lakesight"' + (f', error="{error}"' if error else "")
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def path_of(scope: Scope) -> str:
    """Return the path that the app routes by, without what it is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path
