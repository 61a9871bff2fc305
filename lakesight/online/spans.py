"""Requests as OpenTelemetry's spans: decoding, queue, model and search below each of them.

No span holds what was asked, a picture, a key, or the message of an error. Names are those of the
semantic conventions for HTTP where there are some.
"""

import time
from contextvars import Context

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.models.base import ModelSpec
from lakesight.online.batching import Left
from lakesight.online.documents import version
from lakesight.online.following import Follower
from lakesight.online.notes import note
from lakesight.online.problems import Problem

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
NOTED = ("model", "index", "pictures")
"""What endpoints say of a request (`notes.note`) and its span tells."""


def exported() -> TracerProvider:
    """Return what samples and sends spans as the OTEL_* variables of the environment say."""
    named = Resource({"service.name": "lakesight", "service.version": version()})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Spans(Follower):
    """Makes spans of what it is told. Methods are called from any thread."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("lakesight", version())

    def on_batch(self, spec: ModelSpec, left: Left, num_errors: int) -> None:
        """Tell each of those who asked how long its picture waited, and was looked at."""
        end_ns = time.time_ns()
        start_ns = end_ns - _ns(left.worked_s)
        model: dict[str, AttributeValue] = {
            "lakesight.card": spec.card.name,
            "lakesight.kind": spec.card.kind,
        }
        for waited_s, asked in zip(left.waits_s, left.contexts, strict=True):
            self._child("queue", start_ns - _ns(waited_s), start_ns, model, asked)
            size: dict[str, AttributeValue] = {"lakesight.batch.size": left.size}
            self._child("model", start_ns, end_ns, model | size, asked)

    def on_texts(self, spec: ModelSpec, num: int, seconds: float) -> None:
        """Tell of a request's texts; their wait is in it."""
        self._ended("texts", seconds, {"lakesight.card": spec.card.name, "lakesight.texts": num})

    def on_loaded(self, spec: ModelSpec, seconds: float) -> None:
        """Tell whoever asked first how long the network took to load."""
        self._ended("load", seconds, {"lakesight.card": spec.card.name})

    def on_decoded(self, seconds: float, error: str | None) -> None:
        """Tell of one picture; its wait for a child process is in it."""
        self._ended("decode", seconds, {} if error is None else {"error.type": error})

    def on_search(self, index: str, seconds: float) -> None:
        """Tell of a search."""
        self._ended("search", seconds, {"lakesight.index": index})

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()

    def _ended(self, name: str, seconds: float, attributes: dict[str, AttributeValue]) -> None:
        end_ns = time.time_ns()
        self._child(name, end_ns - _ns(seconds), end_ns, attributes)

    def _child(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, AttributeValue],
        asked: Context | None = None,
    ) -> None:
        """Make a span that has ended, below the request of whoever asked, where that is kept."""
        parent = context.get_current() if asked is None else asked.run(context.get_current)
        if trace.get_current_span(parent).get_span_context().trace_flags.sampled:
            span = self.tracer.start_span(name, parent, attributes=attributes, start_time=start_ns)
            span.end(end_ns)


class Traced:
    """Middleware that makes a span of each request of who may come in.

    It lies inside `Access`: a stranger's `traceparent` would have the server keep what he likes.
    """

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self.app = app
        self.spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, inside of its span."""
        if scope["type"] != "http" or "caller" not in scope["state"]:
            await self.app(scope, receive, send)
            return
        above = TraceContextTextMapPropagator().extract(Headers(scope=scope))
        method = scope["method"] if scope["method"] in METHODS else "HTTP"
        with self.spans.tracer.start_as_current_span(
            method, above, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            note(scope, trace_id=trace.format_trace_id(span.get_span_context().trace_id))
            status: int | None = None

            async def on_start(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self.app(scope, receive, on_start)
            except Problem as problem:  # `Refusing`, outside, answers it
                status = status or problem.status
                note(scope, problem=problem.kind)
                raise
            except Exception:
                status = status or 500
                raise
            finally:
                _tell(span, scope, method, status)


def _tell(span: Span, scope: Scope, method: str, status: int | None) -> None:
    route: str | None = getattr(scope.get("route"), "path", None)
    noted = scope["state"].get("log", {})
    facts = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "error.type": noted.get("problem"),
        "lakesight.request_id": scope["state"].get("request_id"),
        **{f"lakesight.{name}": noted.get(name) for name in NOTED},
    }
    span.set_attributes({name: value for name, value in facts.items() if value is not None})
    if route is not None:
        span.update_name(f"{method} {route}")
    if status is not None and status >= 500:
        span.set_status(StatusCode.ERROR)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
