"""Requests are traced by the real SDK, to memory and to a collector that speaks OTLP."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.online import key_file, traces
from lakesight.online.keys import make
from lakesight.online.spans import Spans
from tests.http_server import until
from tests.indexing import publish, unit
from tests.lakesight.online.conftest import encoded
from tests.serving import Running, running
from workflows.finder import open_index

RAW = {"content-type": "image/jpeg"}
DETECTOR = "starter-yolo-detect"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEPT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Traced:
    """A server, and the spans that it made."""

    def __init__(self, server: Running, memory: InMemorySpanExporter, token: str) -> None:
        self.server, self.memory = server, memory
        server.client.headers["Authorization"] = f"Bearer {token}"

    def spans(self, count: int) -> dict[str, list[ReadableSpan]]:
        """Return the spans by name, once there are so many; and forget them."""
        until(lambda: len(self.memory.get_finished_spans()) >= count)
        found: dict[str, list[ReadableSpan]] = {}
        for span in self.memory.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        self.memory.clear()
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans")


@pytest.fixture(scope="module")
def started(place: Path) -> Iterator[Traced]:
    publish(IndexStore.open(str(place / "photos")), unit(20, 8, "float32"), "one")
    made = make("tracer")
    key_file.add(place / "keys.json", made.key)
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with running(
        open_index,
        models=[{"model": DETECTOR, "name": "finder"}],
        indexes={"photos": str(place / "photos")},
        keys=place / "keys.json",
        spans=Spans(provider),
        num_threads=1,
    ) as server:
        yield Traced(server, memory, made.token)


@pytest.fixture
def traced(started: Traced) -> Traced:
    started.memory.clear()
    return started


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_has_a_span_of_each_thing_done_for_it(traced: Traced) -> None:
    files = [("f", (str(number), encoded(number))) for number in range(2)]
    headers = {**KEPT, "X-Request-ID": "job-7"}
    answer = traced.server.client.post("/v1/detect", files=files, headers=headers)
    assert answer.status_code == 200
    found = traced.spans(7)
    assert {name: len(spans) for name, spans in found.items()} == {
        "POST /v1/detect": 1,
        "decode": 2,
        "queue": 2,
        "model": 2,
    }
    (request,) = found.pop("POST /v1/detect")
    assert request.context
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.kind == SpanKind.SERVER
    assert facts(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/detect",
        "http.response.status_code": 200,
        "lakesight.request_id": "job-7",
        "lakesight.model": "finder",
        "lakesight.pictures": 2,
    }
    for spans in found.values():
        for span in spans:
            assert span.parent
            assert span.parent.span_id == request.context.span_id
            assert span.start_time
            assert request.start_time
            assert span.start_time >= request.start_time - 50_000_000, "two clocks"
            assert span.end_time
            assert span.end_time >= span.start_time
    for span in found["model"]:
        assert facts(span)["lakesight.card"] == DETECTOR
        assert facts(span)["lakesight.batch.size"] in (1, 2)
    for span in found["queue"]:
        assert span.end_time in [model.start_time for model in found["model"]]


def test_a_search_has_a_span(traced: Traced) -> None:
    body = {"id": f"{3:032x}", "k": 2}
    assert traced.server.client.post("/v1/search", json=body).status_code == 200
    found = traced.spans(2)
    (request,), (search,) = found["POST /v1/search"], found["search"]
    assert request.parent is None
    assert facts(request)["lakesight.index"] == facts(search)["lakesight.index"] == "photos"


def test_a_refusal_says_why_and_not_what(traced: Traced) -> None:
    client = traced.server.client
    secret = "what nobody may read"
    assert client.post("/v1/detect", json={"model": secret}).status_code == 422
    assert client.post("/v1/detect", content=b"no", headers=RAW).status_code == 422
    assert client.get(f"/v1/{secret}").status_code == 404
    found = traced.spans(4)
    invalid, unread = found["POST /v1/detect"]
    assert facts(invalid)["error.type"] == "invalid"
    assert facts(unread)["error.type"] == "unreadable-picture"
    assert facts(found["decode"][0])["error.type"] == "unsupported format"
    assert facts(found["GET"][0])["http.response.status_code"] == 404
    spans = [span for several in found.values() for span in several]
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    assert not any(secret in span.to_json() for span in spans)


def test_who_is_not_let_in_leaves_no_trace(traced: Traced) -> None:
    client = traced.server.client
    nobody = {**KEPT, "Authorization": "Bearer no"}
    assert client.post("/v1/detect", content=b"x", headers=nobody).status_code == 401
    assert client.get("/healthz", headers=KEPT).status_code == 200
    assert client.get("/v1/models").status_code == 200
    assert list(traced.spans(1)) == ["GET /v1/models"]


def test_a_caller_that_keeps_no_trace_has_none_kept(traced: Traced) -> None:
    client = traced.server.client
    left_out = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert client.post("/v1/detect", content=encoded(1), headers={**RAW, **left_out}).is_success
    assert client.get("/v1/models").status_code == 200
    assert list(traced.spans(1)) == ["GET /v1/models"]


class Collector(BaseHTTPRequestHandler):
    """What an OpenTelemetry Collector does with traces: takes them, and says so."""

    requests: list[tuple[str, ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    handler = type("Collecting", (Collector,), {"requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_spans_reach_a_collector_by_its_address_alone(
    collector: tuple[str, list[tuple[str, ExportTraceServiceRequest]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, requests = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # FastAPI's own stay off
    with running(models=[DETECTOR], num_threads=1, spans=traces.opened()) as server:
        answer = server.client.post("/v1/detect", content=encoded(1), headers={**RAW, **KEPT})
        assert answer.status_code == 200
    # the end of the server sends what was not sent yet
    assert {path for path, _ in requests} == {"/v1/traces"}
    names: list[str] = []
    for _, request in requests:
        for of_resource in request.resource_spans:
            resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            assert resource["service.name"] == "lakesight"
            assert resource["deployment.environment.name"] == "test"
            for of_scope in of_resource.scope_spans:
                names += [span.name for span in of_scope.spans]
                assert {span.trace_id.hex() for span in of_scope.spans} == {TRACE}
    assert sorted(names) == ["POST /v1/detect", "decode", "model", "queue"]


def test_the_sampler_is_the_environment_s(
    collector: tuple[str, list[tuple[str, ExportTraceServiceRequest]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, requests = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with running(spans=traces.opened()) as server:
        assert server.client.get("/v1/models", headers=KEPT).status_code == 200
    assert requests == []


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_environment_says_whether(
    variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert traces.is_wanted() is wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [("OTEL_TRACES_EXPORTER", "jaeger"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
)
def test_what_is_not_spoken_here(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=f"{name} is '{text}'"):
        traces.is_wanted()


CHECK = """
import sys
from lakesight.errors import UserError
from lakesight.online import app, guard, traces

assert traces.opened() is None
loaded = [name for name in sys.modules if name.startswith("opentelemetry.")]
assert not [name for name in loaded if name.split(".")[1] in ("sdk", "exporter")], loaded
import os
os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
sys.modules["opentelemetry.exporter"] = None
try:
    traces.check()
except UserError as error:
    print(error)
"""


def test_without_a_wish_nothing_is_loaded_and_without_the_extra_it_is_named() -> None:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "pip install lakesight[otel]" in done.stdout
