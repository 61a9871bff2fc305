"""What a search finds, ranked: without the row that was searched by, and by matching (ITM)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.models.base import Matcher

Features = Callable[[Sequence[str]], npt.NDArray[np.floating[Any]]]
"""Returns what a model saw of rows, by their ids."""


def without(hits: Sequence[Mapping[str, Any]], row_id: str | None) -> list[dict[str, Any]]:
    """Return the results but for one row, ranked anew."""
    kept = [hit for hit in hits if hit["id"] != row_id]
    return [{**hit, "rank": rank} for rank, hit in enumerate(kept, start=1)]


def reranked(
    features: Features, model: object, text: str, hits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the hits by the probability that they match the text plus their score, as LAVIS does.

    The probability becomes `match`. What the model saw of them is looked up: no picture is looked
    at again. Raises UserError for a model that cannot match.
    """
    if not isinstance(model, Matcher):
        raise UserError("this index was made by a model that cannot match pictures with texts")
    if not hits:
        return []
    seen = features([hit["id"] for hit in hits])
    chances = model.match_features(seen, [text] * len(hits)).tolist()
    both = sorted(zip(chances, hits, strict=True), key=lambda one: -one[0] - one[1]["score"])
    return [{**hit, "rank": rank, "match": chance} for rank, (chance, hit) in enumerate(both, 1)]
