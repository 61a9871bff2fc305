"""Every query of the dashboard and of the alerts asks for what a live `/metrics` has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parsed

from indexes.store import IndexStore
from tests.documented import DOCS
from tests.indexing import publish, unit
from tests.lakesight.models import tiny
from tests.lakesight.online.conftest import encoded
from tests.serving import running
from workflows.finder import open_index

INFRA = Path(__file__).resolve().parents[2] / "infra"
DASHBOARD: dict[str, Any] = json.loads((INFRA / "grafana-dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((INFRA / "prometheus-alerts.yaml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], one) for panel in PANELS for one in panel["targets"]]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
QUERIES = [
    *((f"{title} {one['refId']}", one["expr"]) for title, one in TARGETS),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]
OF_THE_TARGET = {"job", "instance"}
"""Labels that Prometheus itself gives to what it scrapes."""
NOT_SHOWN = {
    "process_virtual_memory_bytes": "it is what a process reserved, and tells nothing",
}
DETECTOR = "starter-yolo-detect"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every series, by name, after a request of each kind."""
    root = tmp_path_factory.mktemp("monitoring")
    clip = tiny.write("clip", root / "clip")
    (clip / "README.md").write_text("---\nlicense: mit\n---\n")
    publish(IndexStore.open(str(root / "photos")), unit(20, 8, "float32"), "one")
    indexes = {"photos": str(root / "photos")}
    models = [DETECTOR, str(clip)]
    with running(open_index, models=models, indexes=indexes, num_threads=1, max_loaded=1) as server:
        raw = {"content-type": "image/jpeg"}
        for data, status in ((encoded(1), 200), (b"no picture", 422)):
            answer = server.client.post("/v1/detect", content=data, headers=raw)
            assert answer.status_code == status, answer.text
        body = {"model": "clip", "texts": ["a bus"]}  # the detector makes room
        assert server.client.post("/v1/embed", json=body).status_code == 200
        assert server.client.post("/v1/search", json={"id": f"{1:032x}"}).status_code == 200
        text = server.client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in parsed(text):
        assert family.samples, f"no request of this test made {family.name}"
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def expression(text: str) -> promql.Expr:
    """Return a query as Prometheus sees it: Grafana fills its variables in."""
    return promql.parse(text.replace("$__rate_interval", "5m").replace("$", ""))


def below(node: Any) -> Iterator[Any]:
    """Yield an expression, and all that it is made of."""
    yield node
    inner = [getattr(node, name, None) for name in ("expr", "param", "lhs", "rhs")]
    inner += [getattr(node, "vector_selector", None), *getattr(node, "args", [])]
    for one in inner:
        if one is not None:
            yield from below(one)


def selectors(node: Any) -> list[promql.VectorSelector]:
    return [one for one in below(node) if isinstance(one, promql.VectorSelector)]


def complaints(text: str, live: dict[str, set[str]]) -> list[str]:
    """Return what a query asks for and nobody tells."""
    found = expression(text)
    wrong = []
    for one in selectors(found):
        if one.name not in live:
            wrong.append(f"no metric {one.name}")
            continue
        names = {matcher.name for matcher in one.matchers.matchers} - OF_THE_TARGET
        wrong += [f"{one.name} has no {name}" for name in names - live[one.name]]
    for node in below(found):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            has = [live.get(str(one.name), set()) for one in selectors(node)]
            wrong += [
                f"by {name}, which nothing has"
                for name in set(node.modifier.labels) - OF_THE_TARGET - set().union(*has)
            ]
    return wrong


@pytest.mark.parametrize(("text"), [text for _, text in QUERIES], ids=[name for name, _ in QUERIES])
def test_a_query_asks_for_what_there_is(text: str, live: dict[str, set[str]]) -> None:
    assert selectors(expression(text))
    assert complaints(text, live) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("rate(lakesight_request_total[5m])", ["no metric lakesight_request_total"]),
        (
            'lakesight_requests_total{modell="x", job="y"}',
            ["lakesight_requests_total has no modell"],
        ),
        (
            "1 + sum by (path) (rate(lakesight_requests_total[5m]))",
            ["by path, which nothing has"],
        ),
        ("sum by (route) (lakesight_requests_total) > 3", []),
    ],
)
def test_a_wrong_query_is_found(text: str, wrong: list[str], live: dict[str, set[str]]) -> None:
    assert complaints(text, live) == wrong


def test_every_metric_is_on_the_dashboard(live: dict[str, set[str]]) -> None:
    shown = {one.name for _, target in TARGETS for one in selectors(expression(target["expr"]))}
    families = {family(name) for name in live}
    assert families - {family(str(name)) for name in shown} == set(NOT_SHOWN)


def family(name: str) -> str:
    """Return the metric that a series belongs to."""
    return re.sub("_(bucket|count|sum)$", "", name)


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_a_legend_names_labels_that_are_left(
    title: str, target: dict[str, Any], live: dict[str, set[str]]
) -> None:
    found = expression(target["expr"])
    groups = [
        set(node.modifier.labels)
        for node in below(found)
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None
    ]
    sums = [node for node in below(found) if isinstance(node, promql.AggregateExpr)]
    own = set().union(*(live[str(one.name)] for one in selectors(found)))
    left = set().union(*groups) if sums else own
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left


def test_panels_ask_the_datasource_that_is_chosen_and_cover_nothing_else() -> None:
    names = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "job", "model", "replica"}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == names
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [cell for panel in DASHBOARD["panels"] for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells)), "two panels overlap"


def cells_of(place: dict[str, int]) -> list[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    xs, ys = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return [(x, y) for x in xs for y in ys]


def test_variables_list_what_there_is(live: dict[str, set[str]]) -> None:
    queries = [
        one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"
    ]
    assert len(queries) == 3
    for query in queries:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        assert complaints(found[1], live) == []
        (selector,) = selectors(expression(found[1]))
        assert found[2] in live[str(selector.name)] | OF_THE_TARGET


def test_alerts_say_what_to_do() -> None:
    assert len(RULES) == len({rule["alert"] for rule in RULES})
    for rule in RULES:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        promql.parse_duration(rule["for"])
        grouped = {
            name
            for node in below(expression(rule["expr"]))
            if isinstance(node, promql.AggregateExpr) and node.modifier is not None
            for name in node.modifier.labels
        }
        said = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", said)) <= grouped


def test_the_table_of_metrics_is_whole(live: dict[str, set[str]]) -> None:
    """docs/serving.md lists every metric of ours with its labels."""
    rows = re.findall(r"^\| `(lakesight_\w+)` \|([^|]*)\|[^|]*\|$", page(), re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(told) == len(rows)
    has: dict[str, set[str]] = {}
    for name, labels in live.items():
        if name.startswith("lakesight_"):
            has.setdefault(family(name), set()).update(labels - {"le", "replica"})
    assert told == has


def page() -> str:
    return (DOCS / "serving.md").read_text()
