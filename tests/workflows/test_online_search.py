"""`/v1/search` over a published index finds what `lakesight search` finds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotating import picture, run
from tests.lakesight.models import tiny
from tests.serving import Running, running
from workflows.finder import open_index

pytestmark = pytest.mark.usefixtures("shared_ray")

COUNT = 24
SAID = ["a red bus", "a dog", "two cats asleep", "a bus asleep", "a red cat", "two dogs", "7"]
ENDLESS = "range(10000000000) a, range(10000) b"
"""Rows that nobody can count in a lifetime."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pictures, an index that reads text and kept features, and one that only sees."""
    root = tmp_path_factory.mktemp("search")
    photos = root / "photos"
    photos.mkdir()
    for seed in range(COUNT):
        picture(seed).save(photos / f"{seed:02}.jpg", quality=90)
    model = tiny.write("blip2-itc", root / "blip2")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    words = ["--set", "embeddings.queries=all", "--set", "features.write=features"]
    words += ["--detect", "starter-yolo-detect", "--embed", "plain=efficientnet-lite3"]
    words += ["--embed", f"embeddings={model}", "--embed", f"features={model}"]
    run("annotate", str(photos), str(root / "seen"), "--cpus-per-actor", "1", *words)
    run("index", str(root / "seen"), str(root / "texts"), "--column", "embeddings",
        "--features", "features")  # fmt: skip
    run("index", str(root / "seen"), str(root / "plain"), "--column", "plain")
    (root / "said.txt").write_text("\n".join(SAID))
    run("index", str(root / "said.txt"), str(root / "said"), "--text-model", str(model))
    return {name: root / name for name in ("photos", "texts", "plain", "said")} | {"root": root}


@pytest.fixture(scope="module")
def server(places: dict[str, Path]) -> Iterator[Running]:
    indexes = {name: str(places[name]) for name in ("texts", "plain", "said")}
    with running(open_index, indexes=indexes, num_threads=1) as server:
        yield server


def found(index: Path, query: str, *words: str) -> list[dict[str, Any]]:
    """Return what the command line finds."""
    printed = run("search", str(index), query, "--json", *words)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def same(answer: Any, expected: list[dict[str, Any]]) -> None:
    assert answer.status_code == 200, answer.text
    hits = answer.json()["results"]
    assert [one["id"] for one in hits] == [one["id"] for one in expected]
    assert [one["rank"] for one in hits] == list(range(1, len(hits) + 1))
    for hit, row in zip(hits, expected, strict=True):
        assert np.float32(hit["score"]) == pytest.approx(row["score"], abs=1e-5)
        assert np.float32(hit.get("match", 0)) == pytest.approx(row.get("match", 0), abs=1e-5)
        assert set(hit) == set(row)
        boxes = [one["box"] for one in row["detections"]]
        assert np.array_equal(
            np.array([one["box"] for one in hit["detections"]], np.float32),
            np.array(boxes, np.float32),
        )
        assert hit["uri"] == row["uri"]


def test_by_text(server: Running, places: dict[str, Path]) -> None:
    answer = server.client.post("/v1/search", json={"text": "a red bus", "k": 5})
    same(answer, found(places["texts"], "a red bus", "-k", "5"))
    assert answer.json()["index"] == "texts", "the first is the default"
    assert answer.json()["count"] == COUNT


def test_by_picture(server: Running, places: dict[str, Path]) -> None:
    path = places["photos"] / "03.jpg"
    for name in ("texts", "plain"):
        sent = {"files": {"photo": ("a.jpg", path.read_bytes())}, "data": {"index": name, "k": "4"}}
        answer = server.client.post("/v1/search", **sent)  # type: ignore[arg-type]
        same(answer, found(places[name], str(path), "-k", "4"))
        assert answer.json()["results"][0]["uri"].endswith("/03.jpg")


def test_by_row(server: Running, places: dict[str, Path]) -> None:
    row = found(places["plain"], str(places["photos"] / "05.jpg"), "-k", "1")[0]["id"]
    answer = server.client.post("/v1/search", json={"id": row, "k": 3, "index": "plain"})
    same(answer, found(places["plain"], f"id:{row}", "-k", "3"))
    assert row not in [one["id"] for one in answer.json()["results"]]


def test_with_a_condition(server: Running, places: dict[str, Path]) -> None:
    where = "len(detections) >= 2 AND uri LIKE '%/1%'"
    answer = server.client.post("/v1/search", json={"text": "a dog", "where": where})
    same(answer, found(places["texts"], "a dog", "--where", where))
    assert answer.json()["results"]
    none = server.client.post("/v1/search", json={"text": "a dog", "where": "width > 9999"})
    assert none.json()["results"] == []


@pytest.mark.parametrize("rerank", [None, 4])
def test_texts_by_picture(server: Running, places: dict[str, Path], rerank: int | None) -> None:
    """By the best of the picture's vectors, however the model embeds pictures by itself."""
    path = places["photos"] / "03.jpg"
    asked = {"index": "said", "k": "5"} | ({"rerank": str(rerank)} if rerank else {})
    files = {"photo": ("a.jpg", path.read_bytes())}
    answer = server.client.post("/v1/search", files=files, data=asked)
    assert answer.status_code == 200, answer.text
    words = ["--rerank", str(rerank)] if rerank else []
    expected = found(places["said"], str(path), "-k", "5", *words)
    hits = answer.json()["results"]
    for name in ("text", "rank"):
        assert [one[name] for one in hits] == [one[name] for one in expected]
    for name in ("score", "match"):
        scores = [[one[name] for one in each if name in one] for each in (hits, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        assert len(scores[0]) == (5 if name == "score" else rerank or 0)


@pytest.mark.parametrize(("rerank", "k"), [(9, 4), (3, 5)])
def test_reranked(server: Running, places: dict[str, Path], rerank: int, k: int) -> None:
    answer = server.client.post("/v1/search", json={"text": "two dogs", "rerank": rerank, "k": k})
    same(answer, found(places["texts"], "two dogs", "--rerank", str(rerank), "-k", str(k)))
    matches = [one["match"] for one in answer.json()["results"] if "match" in one]
    assert len(matches) == min(rerank, k)
    assert all(0 <= match <= 1 for match in matches)


def test_indexes_are_listed(server: Running) -> None:
    texts, plain, _ = server.client.get("/v1/models").json()["indexes"]
    assert (texts["id"], texts["can_rerank"], texts["reads_text"]) == ("texts", True, True)
    assert (plain["id"], plain["can_rerank"], plain["reads_text"]) == ("plain", False, False)
    assert "detections" in plain["columns"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({"text": "a", "id": "0" * 32}, 422),
        ({"text": ""}, 422),
        ({"id": "x"}, 422),
        ({"id": "0" * 32}, 404),
        ({"text": "a", "index": "none"}, 404),
        ({"text": "a", "model": "texts"}, 422),
        ({"text": "a", "k": 0}, 422),
        ({"text": "a", "k": 1001}, 422),
        ({"text": "a", "where": "colour = 1"}, 422),
        ({"text": "a", "where": "1 = 1; DROP TABLE rows"}, 422),
        ({"text": "a", "where": "1 IN (SELECT 1 FROM read_csv('/etc/passwd'))"}, 422),
        ({"text": "a", "where": f"0 < (SELECT count(*) FROM {ENDLESS})"}, 422),
        ({"text": "a", "where": "len(range(2000000000)) > 0"}, 422),
        ({"text": "a", "index": "plain"}, 422),
        ({"text": "a", "index": "plain", "rerank": 3}, 422),
        ({"id": "0" * 32, "rerank": 3}, 422),
        ({"text": "a", "index": "said", "rerank": 3}, 422),
    ],
)
def test_what_is_refused(server: Running, asked: dict[str, Any], status: int) -> None:
    answer = server.client.post("/v1/search", json=asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_one_picture_alone(server: Running, places: dict[str, Path]) -> None:
    data = (places["photos"] / "03.jpg").read_bytes()
    two = [("f", ("1", data)), ("f", ("2", data))]
    assert server.client.post("/v1/search", files=two).status_code == 422
    broken = server.client.post("/v1/search", files={"f": ("1", b"none")})
    assert broken.json()["type"] == "/problems/unreadable-picture"
