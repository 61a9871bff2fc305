"""uvicorn's reader of HTTP/1.1, with limits that it lacks: on what is no body, and on slow headers.

uvicorn 0.54 with httptools takes headers, trailers and chunk extensions of any size, joins the
pieces of a header in quadratic time (50 MB: 9 s in which nobody else is answered), and waits for
ever for the end of the headers. With h11 it has a limit of size, none of time, and is slower.
"""

import asyncio
from http import HTTPStatus
from typing import ClassVar

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BoundedHttp(HttpToolsProtocol):
    """What uvicorn takes as `http=BoundedHttp`: one connection."""

    max_other_bytes: ClassVar[int] = 64 << 10
    """Of one request, beside its body. What the system gives at once is not cut: a little more may
    come through."""
    other_per_body_byte: ClassVar[int] = 8
    """Allowed on top of that: a chunk of one byte takes five others."""
    head_s: ClassVar[float] = 10.0
    """From the connection, or the first byte of a request, to the end of its headers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.is_in_message = False
        self.num_bytes = self.num_body_bytes = 0
        self.patience: asyncio.TimerHandle | None = None
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came. The piece that a request begins in is not counted."""
        was_in_message = self.is_in_message
        super().data_received(data)
        if not (was_in_message and self.is_in_message):
            return
        self.num_bytes += len(data)
        allowed = self.max_other_bytes + (1 + self.other_per_body_byte) * self.num_body_bytes
        if self.num_bytes > allowed:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self.is_in_message = True
        self.num_bytes = self.num_body_bytes = 0
        if self.patience is None:
            self._be_patient()

    def on_headers_complete(self) -> None:
        """Note that the headers are whole: what follows is for the app to wait for."""
        self._wait_no_longer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body."""
        self.num_body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self.is_in_message = False
        super().on_message_complete()

    def _be_patient(self) -> None:
        self.patience = self.loop.call_later(self.head_s, self._give_up)

    def _wait_no_longer(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def _give_up(self) -> None:
        if self.is_in_message:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "slow-request")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, kind: str) -> None:
        """Answer where no other answer is on its way, and close the connection."""
        body = (
            f'{{"type": "/problems/{kind}", "title": "{status.phrase}", "status": {status.value}}}'
        )
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write((head + body).encode("ascii"))
        self.transport.close()


def bound_uvicorn() -> None:
    """Make `BoundedHttp` what uvicorn uses unless told otherwise, in this process.

    For Ray Serve's proxy, which tells uvicorn nothing.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHttp.__name__}"
