from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexes.search import Searcher
from indexes.store import IndexStore
from lakesight.errors import UserError
from tests.indexing import Vectors, publish, unit

NUM, DIM = 5000, 24


@pytest.fixture(scope="module", params=["float16", "float32"])
def vectors(request: pytest.FixtureRequest) -> Vectors:
    return unit(NUM, DIM, request.param)


@pytest.fixture(scope="module")
def searcher(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    uri = str(tmp_path_factory.mktemp("index"))
    publish(IndexStore.open(uri), vectors, "only")
    return Searcher.open(uri)


QUERIES = unit(20, DIM, "float32", seed=1)


def places(found: pa.Table, num_queries: int) -> np.ndarray:
    """Return the positions `(num_queries, k)` of what was found; an id is its position in hex."""
    ids = [int(each, 16) for each in found["id"].to_pylist()]
    return np.array(ids).reshape(num_queries, -1)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_same_as_brute_force(searcher: Searcher, vectors: Vectors, k: int) -> None:
    scores = QUERIES @ vectors.astype(np.float32).T  # (Q, N)
    found = searcher.search(QUERIES, k)
    np.testing.assert_array_equal(
        places(found, len(QUERIES)), np.argsort(-scores, axis=1, kind="stable")[:, :k]
    )
    expected = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(found["score"].to_numpy(), expected.ravel(), rtol=0, atol=1e-6)
    assert found["query"].to_pylist() == [query for query in range(len(QUERIES)) for _ in range(k)]
    assert found["rank"].to_pylist() == list(range(1, k + 1)) * len(QUERIES)


def test_a_condition_is_applied_before_the_search(searcher: Searcher, vectors: Vectors) -> None:
    allowed = np.arange(NUM) % 7 == 3
    scores = np.where(allowed, QUERIES @ vectors.astype(np.float32).T, -np.inf)
    found = searcher.search(QUERIES, 50, where='"group" = 3')
    np.testing.assert_array_equal(
        places(found, len(QUERIES)), np.argsort(-scores, axis=1, kind="stable")[:, :50]
    )
    assert set(found["group"].to_pylist()) == {3}


@pytest.mark.parametrize(
    ("where", "num"),
    [("false", 0), (f"id = '{7:032x}'", 1), (f"id < '{4:032x}'", 4), ("NULL", 0), ("true", 10)],
)
def test_as_many_as_match(searcher: Searcher, where: str, num: int) -> None:
    assert searcher.search(QUERIES[:1], 10, where).num_rows == num


def test_more_than_there_are_gives_all(searcher: Searcher) -> None:
    found = searcher.search(QUERIES[:1], NUM + 10)
    assert found.num_rows == NUM
    assert len(set(found["id"].to_pylist())) == NUM


def test_a_row_gives_its_stored_vector(searcher: Searcher, vectors: Vectors) -> None:
    stored = searcher.vectors(f"{123:032x}")
    np.testing.assert_array_equal(stored, vectors[123:124].astype(np.float32))
    with pytest.raises(UserError, match="no row with the id"):
        searcher.vectors("f" * 32)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "nothing > 3",
        "group",
        "true) OR (SELECT count(*) FROM read_text('/etc/hostname')) > (0",
        "(SELECT count(*) FROM read_text('/etc/hostname')) > 0",
        "true; SELECT 1",
        "true) UNION ALL SELECT 0 WHERE (true",
    ],
)
def test_a_bad_condition_is_one_line(searcher: Searcher, where: str) -> None:
    with pytest.raises(UserError) as caught:
        searcher.search(QUERIES[:1], 3, where)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searcher, Vectors]:
    """Return an index of 400 rows of 5 vectors, and the vectors."""
    vectors = unit(2000, DIM, "float32", seed=3).reshape(400, 5, DIM)
    uri = str(tmp_path_factory.mktemp("several"))
    publish(IndexStore.open(uri), vectors, "only")
    return Searcher.open(uri), vectors


@pytest.mark.parametrize("k", [1, 7, 500])
def test_a_row_of_several_vectors_scores_as_its_best(
    several: tuple[Searcher, Vectors], k: int
) -> None:
    searcher, vectors = several
    scores = np.einsum("qd,rvd->qrv", QUERIES, vectors).max(axis=2)
    found = searcher.search(QUERIES, k)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(places(found, len(QUERIES)), best)
    expected = np.take_along_axis(scores, best, axis=1)
    np.testing.assert_allclose(found["score"].to_numpy(), expected.ravel(), rtol=0, atol=1e-6)
    assert found["rank"].to_pylist() == list(range(1, best.shape[1] + 1)) * len(QUERIES)


def test_a_query_of_several_vectors_scores_by_the_best_pair(
    several: tuple[Searcher, Vectors],
) -> None:
    searcher, vectors = several
    queries = QUERIES.reshape(4, 5, DIM)
    scores = np.einsum("qwd,rvd->qrwv", queries, vectors).max(axis=(2, 3))
    found = searcher.search(queries, 9, where='"group" = 2')
    allowed = np.where(np.arange(400) % 7 == 2, scores, -np.inf)
    best = np.argsort(-allowed, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(places(found, 4), best)
    np.testing.assert_array_equal(searcher.vectors(f"{11:032x}"), vectors[11])


def test_a_row_by_its_id(searcher: Searcher) -> None:
    for place in (0, 4095, 4096, NUM - 1):
        found = searcher.row(f"{place:032x}")
        assert found.to_pylist() == [{"id": f"{place:032x}", "group": place % 7}]
    for missing in (f"{NUM:032x}", "f" * 32, "", "0"):
        with pytest.raises(UserError, match="holds no row with the id"):
            searcher.row(missing)


@pytest.mark.parametrize("k", [1, 3, NUM, 2 * NUM])
def test_rows_are_spread_over_all(searcher: Searcher, k: int) -> None:
    found = [int(one, 16) for one in searcher.browse(k)["id"].to_pylist()]
    assert found[0] == 0
    assert len(found) == min(k, NUM)
    if k > 1:
        assert found[-1] == NUM - 1
        steps = np.diff(found)
        assert steps.max() - steps.min() <= 1


def test_rows_are_spread_over_those_that_fit(searcher: Searcher) -> None:
    found = searcher.browse(4, where="\"group\" = 3 AND id < repeat('0', 29) || '040'")
    assert [int(one, 16) for one in found["id"].to_pylist()] == [3, 17, 38, 59]
    assert searcher.browse(4, where="false").num_rows == 0


def test_vectors_of_another_size_are_refused(searcher: Searcher) -> None:
    with pytest.raises(UserError, match="expected vectors"):
        searcher.search(QUERIES[:, :-1], 3)


def test_what_was_fetched_from_a_bucket_is_cleared_away(
    s3_server: object, new_bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(new_bucket)
    store = IndexStore.open(f"s3://{new_bucket()}/index")
    publish(store, unit(20, 8), "only")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    searcher = Searcher.open(store.uri)
    assert len(list(tmp_path.glob("lakesight-index-*/*"))) == 2
    assert searcher.search(unit(1, 8, "float32"), 3).num_rows == 3
    del searcher
    assert not list(tmp_path.iterdir())
