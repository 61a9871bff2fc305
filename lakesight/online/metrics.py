"""What a process that serves has counted, for Prometheus: requests, queues, models, searches.

Names and units are Prometheus' own conventions. The values of every label are ours, or the
operator's: routes, names of models and indexes as they are served, kinds. So nobody who asks can
make series. docs/serving.md says what each metric is for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    Summary,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from lakesight.models.base import ModelCard, ModelSpec
from lakesight.online.access import path_of
from lakesight.online.batching import Left
from lakesight.online.documents import version
from lakesight.online.following import Follower
from lakesight.online.offers import Served
from lakesight.online.shop import Shop

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the buckets of every time."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Of pictures in a batch."""
OTHER = "other"
"""The route of a path that is none of ours."""


class Metrics(Follower):
    """The counts of one process. Methods are called from any thread."""

    def __init__(self) -> None:
        self._registry = of = CollectorRegistry()
        ProcessCollector(registry=of)
        self._names: Mapping[tuple[str, ...], str] = {}
        self.routes: frozenset[str] = frozenset()
        """The paths of the app, to name those of requests that never came so far."""
        self.in_flight = Gauge(
            "lakesight_requests_in_flight", "Requests that are answered now.", registry=of
        )
        self._requests = Counter(
            "lakesight_requests_total",
            "Requests that ended, by the class of their status; none where the client went away.",
            ("route", "model", "status"),
            registry=of,
        )
        self._seconds = Histogram(
            "lakesight_request_duration_seconds",
            "From a request's headers to its answer's last byte, of those that were not refused.",
            ("route", "model"),
            buckets=SECONDS,
            registry=of,
        )
        self._problems = Counter(
            "lakesight_problems_total",
            "Requests that were refused or failed, by the kind of problem.",
            ("route", "model", "problem"),
            registry=of,
        )
        self._decoding = Histogram(
            "lakesight_decode_duration_seconds",
            "Of a picture, with its wait for a child process.",
            buckets=SECONDS,
            registry=of,
        )
        self._undecoded = Counter(
            "lakesight_decode_errors_total",
            "Pictures that could not be decoded, by the type of error.",
            ("type",),
            registry=of,
        )
        of_model = ("model", "kind")
        self._waiting = Histogram(
            "lakesight_queue_duration_seconds",
            "How long a picture waited for its batch.",
            of_model,
            buckets=SECONDS,
            registry=of,
        )
        self._working = Histogram(
            "lakesight_model_duration_seconds",
            "How long a model worked on a batch of pictures.",
            of_model,
            buckets=SECONDS,
            registry=of,
        )
        self._sizes = Histogram(
            "lakesight_batch_size",
            "Pictures in a batch.",
            of_model,
            buckets=SIZES,
            registry=of,
        )
        self._failed = Counter(
            "lakesight_model_errors_total",
            "Pictures that a model failed at.",
            of_model,
            registry=of,
        )
        self._reading = Histogram(
            "lakesight_text_duration_seconds",
            "How long a model took to embed the texts of a request, with their wait.",
            ("model",),
            buckets=SECONDS,
            registry=of,
        )
        self._texts = Counter(
            "lakesight_texts_total", "Texts that a model embedded.", ("model",), registry=of
        )
        self._loading = Summary(
            "lakesight_model_load_seconds",
            "How long networks took to load.",
            ("model",),
            registry=of,
        )
        self._dropped = Counter(
            "lakesight_model_drops_total",
            "Networks that made room, or are served no more.",
            ("model",),
            registry=of,
        )
        self._searching = Histogram(
            "lakesight_search_duration_seconds",
            "Of a search of an index, without embedding its query.",
            ("index",),
            buckets=SECONDS,
            registry=of,
        )

    def name(self, models: Mapping[str, Served]) -> None:
        """Call these models as they are served; one that is served twice, by its first name."""
        names: dict[tuple[str, ...], str] = {}
        for name, served in models.items():
            for spec in served.specs.values():
                names.setdefault(_files(spec.card), name)
        self._names = {**self._names, **names}

    def on_request(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request that ended; no status where it was never answered."""
        noted: Mapping[str, Any] = scope["state"].get("log", {})
        route, model = self._route(scope), noted.get("model", "")
        group = f"{status // 100}xx" if status else "none"
        self._requests.labels(route, model, group).inc()
        if group in {"2xx", "5xx"}:
            self._seconds.labels(route, model).observe(seconds)
        if "problem" in noted:
            self._problems.labels(route, model, noted["problem"]).inc()

    def on_batch(self, spec: ModelSpec, left: Left, num_errors: int) -> None:
        """Count a batch of pictures."""
        labels = (self._name(spec), spec.card.kind)
        self._sizes.labels(*labels).observe(left.size)
        self._working.labels(*labels).observe(left.worked_s)
        waiting = self._waiting.labels(*labels)
        for waited_s in left.waits_s:
            waiting.observe(waited_s)
        self._failed.labels(*labels).inc(num_errors)

    def on_texts(self, spec: ModelSpec, num: int, seconds: float) -> None:
        """Count the texts of a request."""
        self._texts.labels(self._name(spec)).inc(num)
        self._reading.labels(self._name(spec)).observe(seconds)

    def on_loaded(self, spec: ModelSpec, seconds: float) -> None:
        """Count a network that was loaded."""
        self._loading.labels(self._name(spec)).observe(seconds)

    def on_dropped(self, spec: ModelSpec) -> None:
        """Count a network that is closed."""
        self._dropped.labels(self._name(spec)).inc()

    def on_decoded(self, seconds: float, error: str | None) -> None:
        """Count a picture."""
        self._decoding.observe(seconds)
        if error is not None:
            self._undecoded.labels(error).inc()

    def on_search(self, index: str, seconds: float) -> None:
        """Count a search."""
        self._searching.labels(index).observe(seconds)

    def families(self, shop: Shop | None) -> list[Metric]:
        """Return all that was counted, and how things stand now in what is served."""
        return [*self._registry.collect(), *self._now(shop)]

    def _now(self, shop: Shop | None) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "lakesight_build_info", "1 of every replica that answers.", labels=("version",)
        )
        info.add_metric((version(),), 1)
        loaded = GaugeMetricFamily(
            "lakesight_model_loaded", "Whether a model is in memory.", labels=("model",)
        )
        waiting = GaugeMetricFamily(
            "lakesight_queue_size", "Pictures that wait for a batch.", labels=("model", "kind")
        )
        if shop is not None:
            for name, served in shop.models.items():
                loaded.add_metric((name,), shop.engine.is_loaded(served.main))
            for labels, count in self._queues(shop).items():
                waiting.add_metric(labels, count)
        return info, loaded, waiting

    def _queues(self, shop: Shop) -> Mapping[tuple[str, str], int]:
        """Return how many pictures wait; a model with other options is the same model."""
        queues: dict[tuple[str, str], int] = {}
        for opened in shop.engine.all_opened():
            labels = (self._name(opened.spec), opened.spec.card.kind)
            queues[labels] = queues.get(labels, 0) + opened.num_waiting
        return queues

    def _name(self, spec: ModelSpec) -> str:
        """Return what a model is called here; one of an index alone, as its card says."""
        return self._names.get(_files(spec.card), spec.card.name)

    def _route(self, scope: Scope) -> str:
        """Return the pattern of a request's path, whether or not it came as far as the app."""
        pattern: str | None = getattr(scope.get("route"), "path", None)
        if pattern is not None:
            return pattern
        path = path_of(scope)
        return path if path in self.routes else OTHER


def _files(card: ModelCard) -> tuple[str, ...]:
    """Return what tells the checkpoint of a model, whatever it is asked for."""
    return (card.name, *card.sha256.values())


def exposition(replicas: Mapping[str, Sequence[Metric]]) -> bytes:
    """Return the metrics of several processes in Prometheus' text format.

    Every series says whose it is: a replica's counts begin at 0, and end with it, as those of
    an instance that is scraped by itself.
    """
    merged: dict[str, Metric] = {}
    for replica, families in sorted(replicas.items()):
        for family in families:
            known = merged.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    labels = {"replica": replica, **sample.labels}
                    known.samples.append(sample._replace(labels=labels))
    return generate_latest(_Merged(merged.values()))


class _Merged(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
