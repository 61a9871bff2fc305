"""Recall@k against brute force in NumPy, kept up while the vectors stream by."""

import faiss
import numpy as np
import numpy.typing as npt

from indexes.manifest import Recall

Vectors = npt.NDArray[np.float32]
TIE = 1e-6
"""Scores that differ by less are one score: float32 sums in another order."""


class BruteForce:
    """The best `k` scores of some queries among all vectors seen. Memory: `num_queries * k`."""

    def __init__(self, queries: Vectors, k: int) -> None:
        self.queries = queries  # (Q, dim)
        self.k = k
        self.best = np.full((len(queries), 0), -np.inf, dtype=np.float32)  # (Q, <= k), descending

    def see(self, vectors: Vectors) -> None:
        """Take in more vectors `(N, dim)`."""
        scores = np.concatenate([self.best, self.queries @ vectors.T], axis=1)
        self.best = -np.sort(-scores, axis=1)[:, : self.k]

    def measure(self, index: faiss.Index) -> Recall:
        """Return which share of the true best k an index finds; any of equally good ones counts."""
        num_true = self.best.shape[1]
        found, _ = index.search(self.queries, num_true)  # (Q, num_true)
        hits = found >= self.best[:, -1:] - TIE
        return Recall(value=float(hits.mean()), k=self.k, num_queries=len(self.queries))
