import faiss
import numpy as np

from indexes.recall import BruteForce
from tests.indexing import unit


def index_of(vectors: np.ndarray) -> faiss.Index:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def test_the_best_scores_do_not_depend_on_the_batches() -> None:
    vectors, queries = unit(1000, 12, "float32"), unit(5, 12, "float32", seed=1)
    brute = BruteForce(queries, k=10)
    for start in range(0, 1000, 130):
        brute.see(vectors[start : start + 130])
    expected = -np.sort(-(queries @ vectors.T), axis=1)[:, :10]
    np.testing.assert_allclose(brute.best, expected, rtol=0, atol=1e-6)


def test_an_index_that_lacks_half_of_the_vectors_finds_about_half() -> None:
    vectors, queries = unit(2000, 12, "float32"), unit(50, 12, "float32", seed=1)
    brute = BruteForce(queries, k=10)
    brute.see(vectors)
    true = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]  # (Q, 10)
    expected = float((true < 1000).mean())
    assert 0.3 < expected < 0.7
    assert brute.measure(index_of(vectors[:1000])).value == expected
    assert brute.measure(index_of(vectors)).value == 1.0


def test_equal_vectors_may_stand_for_each_other() -> None:
    vectors = np.repeat(unit(1, 8, "float32"), 30, axis=0)
    brute = BruteForce(vectors[:3], k=10)
    brute.see(vectors)
    assert brute.measure(index_of(vectors[::-1].copy())).value == 1.0
