"""Search by words that looks again at the best, from what the index kept of them."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lakesight
from indexes.search import Searcher
from lakesight.errors import UserError
from tests.annotating import run
from tests.lakesight.models import tiny
from tests.outputs import write_pictures
from workflows.index import Index
from workflows.search import Search

TEXT = "a red bus"
NAMES = [f"{number}.jpg" for number in range(7)]
LICENCE = ("--allow-licence", "unknown")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.write_blip2_itc(tmp_path_factory.mktemp("tiny") / "itc"))


@pytest.fixture(scope="module")
def output(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_pictures(str(folder / "source"), NAMES)
    words = ["annotate", str(folder / "source"), str(folder / "seen"), *LICENCE]
    words += ["--embed", model, "--embed", f"features={model}", "--set", "embed.queries=all"]
    run(*words, "--set", "features.write=features")
    Index(
        output=str(folder / "seen"),
        index=str(folder / "index"),
        column="embeddings",
        features="features",
    ).run()
    return folder


def found(index: Path, **more: Any) -> list[dict[str, Any]]:
    command = Search.model_validate({"index": str(index), "query": TEXT, "json": True} | more)
    with redirect_stdout(io.StringIO()) as printed:
        assert command.run() == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


def test_the_best_are_ranked_by_whether_they_match(output: Path, model: str) -> None:
    plain = found(output / "index", k=7)
    assert "match" not in plain[0]
    again = found(output / "index", k=3, rerank=5)
    assert [hit["rank"] for hit in again] == [1, 2, 3]
    best = {hit["uri"] for hit in plain[:5]}
    loaded = lakesight.load(model, allow_licence=["unknown"])
    paths = {path.as_uri(): str(path) for path in (output / "source").iterdir()}
    uris = sorted(best)
    column = lakesight.load(model, write="features", allow_licence=["unknown"]).predict(
        [paths[uri] for uri in uris]
    )
    features = np.array(column.column.to_pylist(), np.float16)
    chances = loaded.model.match_features(features, [TEXT] * 5)  # type: ignore[attr-defined]
    expected = dict(zip(uris, chances.tolist(), strict=True))
    scores = {hit["uri"]: hit["score"] for hit in plain}
    ranked = sorted(uris, key=lambda uri: -expected[uri] - scores[uri])
    assert [hit["uri"] for hit in again] == ranked[:3]
    for hit in again:
        assert hit["match"] == pytest.approx(expected[hit["uri"]], abs=1e-3)
        assert hit["score"] == scores[hit["uri"]]


def test_what_was_seen_comes_back_as_the_output_has_it(output: Path) -> None:
    rows = lakesight.open(str(output / "seen")).dataset().to_table()
    searcher = Searcher.open(str(output / "index"))
    ids = rows["id"].to_pylist()[::-1]
    kept = np.array(rows["features"].to_pylist()[::-1], np.float16)
    np.testing.assert_array_equal(searcher.features(ids), kept)
    assert "features" not in searcher.rows.schema.names
    with pytest.raises(UserError, match="no row with the id"):
        searcher.features(["f" * 32])


def test_mistakes_are_said(output: Path, tmp_path: Path) -> None:
    without = tmp_path / "without"
    Index(output=str(output / "seen"), index=str(without), column="embeddings").run()
    with pytest.raises(UserError, match="keeps no features"):
        found(without, rerank=3)
    row = lakesight.open(str(output / "seen")).dataset().to_table()["id"][0].as_py()
    with pytest.raises(UserError, match="search by a text"):
        found(output / "index", query=f"id:{row}", rerank=3)
    wrong = {"output": str(output / "seen"), "index": str(tmp_path / "x"), "column": "embeddings"}
    with pytest.raises(UserError, match="expected a column of features"):
        Index.model_validate(wrong | {"features": "uri"}).run()
    with pytest.raises(UserError, match="has no column 'nothing'"):
        Index.model_validate(wrong | {"features": "nothing"}).run()
    damaged = next((output / "index").rglob("features.f16"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-2] + b"\0\1")
    try:
        with pytest.raises(UserError, match=r"damaged: features\.f16"):
            found(output / "index", rerank=3)
        assert len(found(output / "index", k=7)) == 7  # which needs no features
    finally:
        damaged.write_bytes(whole)
