"""What counting and tracing add to a request of one picture, and what a scrape costs.

    python -m benchmarks.following [--requests 20000] [--models 10]

In microseconds of CPU time, the best of five rounds, so that other work on the machine shows less.
The rest of a request is left out: decisions/0008-serving.md has that.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind

from lakesight.models import catalog
from lakesight.models.base import ModelSpec
from lakesight.online.batching import Left
from lakesight.online.following import Follower
from lakesight.online.metrics import Metrics, exposition
from lakesight.online.spans import Spans

ROUNDS = 5
ROUTES = ("/v1/detect", "/v1/embed", "/v1/classify")


class Nowhere(SpanExporter):
    """Sends nothing: a collector's own time is not ours."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Forget the spans."""
        return SpanExportResult.SUCCESS


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, and print the figures as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--models", type=int, default=10)
    options = parser.parse_args(words)
    spec = catalog.spec("starter-yolo-detect")
    metrics = filled(spec, options.models)
    kept, dropped = tracing(ALWAYS_ON), tracing(ParentBased(ALWAYS_OFF))
    text = exposition({"0": metrics.families(None)})
    figures = {
        "benchmark": "following",
        "counted_us": each(lambda: count(metrics, spec), options.requests),
        "traced_us": each(lambda: trace(kept, spec), options.requests),
        "not_sampled_us": each(lambda: trace(dropped, spec), options.requests),
        "scrape_us": each(lambda: exposition({"0": metrics.families(None)}), 20),
        "scrape_bytes": len(text),
        "series": sum(not line.startswith(b"#") for line in text.splitlines()),
    }
    kept.close()
    dropped.close()
    print(json.dumps(figures))
    return figures


def each(work: Callable[[], object], count: int) -> float:
    """Return the CPU time of one call in microseconds, in the best round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(count):
            work()
        rounds.append(time.process_time() - start)
    return round(min(rounds) / count * 1e6, 1)


def filled(spec: ModelSpec, num_models: int) -> Metrics:
    """Return metrics with the series of a server of so many models."""
    metrics = Metrics()
    for number in range(num_models):
        named = spec.model_copy(
            update={"card": spec.card.model_copy(update={"name": f"m{number}"})}
        )
        done(metrics, named)
        for route in ROUTES:
            metrics.on_request(
                {**scope(route), "state": {"log": {"model": f"m{number}"}}}, 200, 0.02
            )
    return metrics


def scope(route: str) -> dict[str, Any]:
    """Return what a server knows of a request."""
    return {"type": "http", "path": route, "state": {"log": {"model": "starter-yolo-detect"}}}


def count(metrics: Metrics, spec: ModelSpec) -> None:
    """Do what counting one request is."""
    metrics.in_flight.inc()
    done(metrics, spec)
    metrics.in_flight.dec()
    metrics.on_request(scope(ROUTES[0]), 200, 0.02)


def trace(spans: Spans, spec: ModelSpec) -> None:
    """Make the spans of one request."""
    with spans.tracer.start_as_current_span("POST /v1/detect", kind=SpanKind.SERVER) as span:
        span.set_attributes({"http.route": ROUTES[0], "http.response.status_code": 200})
        done(spans, spec)


def done(follower: Follower, spec: ModelSpec) -> None:
    """Tell of one picture: decoded, and looked at alone."""
    follower.on_decoded(0.004, None)
    follower.on_batch(spec, Left((0.001,), 0.012, (copy_context(),)), 0)


def tracing(sampler: Sampler) -> Spans:
    """Return spans that are sampled so, and go nowhere."""
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return Spans(provider)


if __name__ == "__main__":
    main()
