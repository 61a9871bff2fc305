"""What `/metrics` says is what happened, and nobody who asks makes series of his own."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from indexes.store import IndexStore
from lakesight.models import catalog
from lakesight.online import key_file
from lakesight.online.batching import Left
from lakesight.online.keys import Scopes, make
from lakesight.online.metrics import Metrics, exposition
from tests.http_server import until
from tests.indexing import publish, unit
from tests.lakesight.models import tiny
from tests.lakesight.online.conftest import encoded
from tests.serving import Running, running
from workflows.finder import open_index

RAW = {"content-type": "image/jpeg"}
DETECTOR = "starter-yolo-detect"
Labels = Mapping[str, str]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return each series and its value; no label whose value is empty, which is as none."""
    return {
        (one.name, frozenset((k, v) for k, v in one.labels.items() if v)): one.value
        for family in parsed(text)
        for one in family.samples
    }


def value(server: Running, name: str, **labels: str) -> float:
    """Return the sum of a metric's series of these labels, of every replica."""
    wanted = set(labels.items())
    found = samples(server.client.get("/metrics").text)
    return sum(number for (own, has), number in found.items() if own == name and wanted <= has)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A detector by another name, a model that reads text, and an index."""
    root = tmp_path_factory.mktemp("metrics")
    clip = tiny.write("clip", root / "clip")
    (clip / "README.md").write_text("---\nlicense: mit\n---\n")
    publish(IndexStore.open(str(root / "photos")), unit(20, 8, "float32"), "one")
    models = [{"model": DETECTOR, "name": "finder"}, {"model": str(clip), "name": "clip"}]
    indexes = {"photos": str(root / "photos")}
    with running(
        open_index, models=models, indexes=indexes, num_threads=1, max_pictures=2
    ) as server:
        yield server


def test_a_request_is_counted_by_route_model_and_status(server: Running) -> None:
    labels = {"route": "/v1/detect", "model": "finder"}
    before = value(server, "lakesight_requests_total", **labels, status="2xx")
    timed = value(server, "lakesight_request_duration_seconds_count", **labels)
    assert server.client.post("/v1/detect", content=encoded(1), headers=RAW).status_code == 200
    assert value(server, "lakesight_requests_total", **labels, status="2xx") == before + 1
    assert value(server, "lakesight_request_duration_seconds_count", **labels) == timed + 1
    name = "lakesight_request_duration_seconds_bucket"
    assert value(server, name, **labels, le="60.0") == timed + 1
    assert value(server, name, **labels, le="0.001") == 0


def test_a_refusal_is_counted_by_its_problem_and_not_timed(server: Running) -> None:
    files = [("f", (str(number), encoded(number))) for number in range(3)]
    cases = (
        (server.client.post("/v1/detect", files=files), 413, "too-many-pictures"),
        (server.client.post("/v1/detect", json={"model": "none"}), 422, "invalid"),
        (server.client.post("/v1/detect", content=b"no", headers=RAW), 422, "unreadable-picture"),
        (server.client.get("/v1/detect"), 405, "method-not-allowed"),
    )
    for answer, status, problem in cases:
        assert answer.status_code == status, answer.text
        labels = {"route": "/v1/detect", "problem": problem}
        assert value(server, "lakesight_problems_total", **labels) == 1
    timed = value(server, "lakesight_request_duration_seconds_count", route="/v1/detect")
    right = value(server, "lakesight_requests_total", route="/v1/detect", status="2xx")
    assert timed == right
    assert value(server, "lakesight_decode_errors_total", type="unsupported format") == 1


def test_pictures_are_counted_by_batch(server: Running) -> None:
    labels = {"model": "finder", "kind": "detect"}
    names = ("batch_size", "model_duration_seconds", "queue_duration_seconds")
    counts = [f"lakesight_{name}_count" for name in names]
    before = [value(server, name, **labels) for name in counts]
    num_pictures = value(server, "lakesight_batch_size_sum", **labels)
    decoded = value(server, "lakesight_decode_duration_seconds_count")
    files = [("f", (str(number), encoded(number))) for number in range(2)]
    assert server.client.post("/v1/detect", files=files).status_code == 200
    until(lambda: value(server, "lakesight_batch_size_sum", **labels) == num_pictures + 2)
    after = [value(server, name, **labels) for name in counts]
    batches, calls, waits = (now - then for now, then in zip(after, before, strict=True))
    assert batches == calls
    assert batches in (1, 2)
    assert waits == 2
    assert value(server, "lakesight_decode_duration_seconds_count") == decoded + 2
    assert value(server, "lakesight_queue_size", **labels) == 0
    assert value(server, "lakesight_model_errors_total", **labels) == 0


def test_texts_and_searches_are_counted(server: Running) -> None:
    body = {"model": "clip", "texts": ["a bus", "a dog"]}
    assert server.client.post("/v1/embed", json=body).status_code == 200
    assert value(server, "lakesight_texts_total", model="clip") == 2
    assert value(server, "lakesight_text_duration_seconds_count", model="clip") == 1
    answer = server.client.post("/v1/search", json={"id": f"{3:032x}", "k": 2})
    assert answer.status_code == 200, answer.text
    assert value(server, "lakesight_search_duration_seconds_count", index="photos") == 1


def test_models_that_are_loaded(server: Running) -> None:
    for name in ("finder", "clip"):
        assert value(server, "lakesight_model_loaded", model=name) == 1
        assert value(server, "lakesight_model_load_seconds_count", model=name) == 1
    assert value(server, "lakesight_build_info") == 1
    assert value(server, "lakesight_requests_in_flight") == 1, "this one"
    assert value(server, "process_resident_memory_bytes") > 1e7


def test_strangers_make_no_series(server: Running) -> None:
    """Whatever is asked, labels are routes, and names that are served."""

    def known() -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return set(samples(server.client.get("/metrics").text))

    def ask(word: str) -> None:
        server.client.get(f"/{word}")
        server.client.get(f"/v1/models/{word}")
        server.client.request(word, "/v1/detect")
        server.client.post("/v1/embed", json={"model": word, "texts": ["x"]})
        server.client.post("/v1/search", json={"index": word, "id": "0" * 32})
        server.client.post(f"/v2/models/{word}/infer", json={"inputs": []})

    ask("FIRST")
    before = known()
    for number in range(5):
        ask(f"WORD{number}")
    assert known() == before
    assert not any("WORD" in text or "FIRST" in text for _, pairs in before for _, text in pairs)


def test_metrics_want_a_key_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key_file.add(path, make("nobody").key)
    reader = make("prometheus", Scopes(models=(), indexes=(), metrics=True))
    key_file.add(path, reader.key)
    other = make("phone")
    key_file.add(path, other.key)
    with running(keys=path) as server:
        assert server.client.get("/metrics").status_code == 401
        for made, status in ((other, 403), (reader, 200)):
            headers = {"Authorization": f"Bearer {made.token}"}
            assert server.client.get("/metrics", headers=headers).status_code == status
        assert server.client.post("/v1/detect", content=b"x").status_code == 401
        server.client.headers["Authorization"] = f"Bearer {reader.token}"
        problem = {"problem": "unauthenticated"}
        for route in ("/metrics", "/v1/detect"):
            assert value(server, "lakesight_problems_total", route=route, **problem) == 1
        assert value(server, "lakesight_problems_total", route="/metrics", problem="forbidden") == 1
        asked = {"model": DETECTOR}
        assert server.client.post("/v1/detect", json=asked).status_code in (403, 404, 422)


def test_a_client_that_goes_away_has_no_status() -> None:
    metrics = Metrics()
    metrics.on_request({"state": {}, "path": "/x"}, None, 0.5)
    found = samples(exposition({"0": metrics.families(None)}).decode())
    pairs = {("replica", "0"), ("route", "other"), ("status", "none")}
    assert found["lakesight_requests_total", frozenset(pairs)] == 1


def test_replicas_stand_side_by_side() -> None:
    """One of them that ends takes its series with it: no sum goes down and looks like a restart."""
    spec = catalog.spec(DETECTOR)
    first, second = Metrics(), Metrics()
    for metrics, num in ((first, 3), (second, 2)):
        metrics.on_batch(spec, Left((0.1,) * num, 0.2, ()), 1)
    text = exposition({"a": first.families(None), "b": second.families(None)}).decode()
    own = {("model", DETECTOR), ("kind", "detect")}
    for replica, num in (("a", 3), ("b", 2)):
        labels = frozenset({*own, ("replica", replica)})
        assert samples(text)["lakesight_batch_size_sum", labels] == num
    assert text.count("# TYPE lakesight_batch_size histogram") == 1
    assert "_created" not in text


def test_a_model_without_a_name_is_called_by_its_card() -> None:
    metrics = Metrics()
    metrics.on_loaded(catalog.spec(DETECTOR), 2.0)
    found = samples(exposition({"0": metrics.families(None)}).decode())
    labels = frozenset({("model", DETECTOR), ("replica", "0")})
    assert found["lakesight_model_load_seconds_sum", labels] == 2.0


def test_a_network_that_makes_room_is_counted() -> None:
    other = "starter-yolo-classify"
    with running(models=[DETECTOR, other], num_threads=1, max_loaded=1) as server:
        assert value(server, "lakesight_model_loaded", model=other) == 0
        assert server.client.post("/v1/classify", content=encoded(1), headers=RAW).is_success
        assert value(server, "lakesight_model_loaded", model=other) == 1
        assert value(server, "lakesight_model_loaded", model=DETECTOR) == 0
        assert value(server, "lakesight_model_drops_total", model=DETECTOR) == 1
