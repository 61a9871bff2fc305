"""What a search finds, ranked: without the row that was searched by, and by matching (ITM)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError
from lakesight.models.base import Image, Matcher

Features = Callable[[Sequence[str]], npt.NDArray[np.floating[Any]]]
"""Returns what a model saw of rows, by their ids."""
AT_ONCE = 64
"""Rows whose features are held in memory together: up to 700 KB each."""


def without(hits: Sequence[Mapping[str, Any]], row_id: str | None) -> list[dict[str, Any]]:
    """Return the results but for one row, ranked anew."""
    kept = [hit for hit in hits if hit["id"] != row_id]
    return [{**hit, "rank": rank} for rank, hit in enumerate(kept, start=1)]


def reranked(
    features: Features, model: object, text: str, hits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the hits by their score and whether they match the text: see `by_match`.

    What the model saw of them is looked up: no picture is looked at again. Raises UserError for a
    model that cannot match.
    """
    model = as_matcher(model)
    if not hits:
        return []
    parts = [hits[start : start + AT_ONCE] for start in range(0, len(hits), AT_ONCE)]
    logits = [
        model.match_logits(features([hit["id"] for hit in part]), [text] * len(part))
        for part in parts
    ]
    return by_match(np.concatenate(logits), hits)


def reranked_texts(
    model: object, view: Image, hits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the hits of an index of texts by their score and whether a picture matches them.

    The picture is looked at once. Raises UserError for a model that cannot match.
    """
    model = as_matcher(model)
    if not hits:
        return []
    seen = model.see_features([view])
    shared = np.broadcast_to(seen, (len(hits), *seen.shape[1:]))
    return by_match(model.match_logits(shared, [hit["text"] for hit in hits]), hits)


def as_matcher(model: object) -> Matcher:
    """Return the model that an index was made by; UserError for one that cannot match."""
    if not isinstance(model, Matcher):
        raise UserError("this index was made by a model that cannot match pictures with texts")
    return model


def by_match(
    logits: npt.NDArray[np.floating[Any]], hits: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the hits by their score plus the logit of "yes", as LAVIS does.

    `logits` `(B, 2)` say no and yes. `match` becomes the probability of yes, of which many are
    nearly 1.
    """
    exact = logits.astype(np.float64)
    chances = np.exp(-np.logaddexp(0, exact[:, 0] - exact[:, 1]))
    sums = exact[:, 1] + np.array([hit["score"] for hit in hits])
    return [
        {**hits[place], "rank": rank, "match": float(chances[place])}
        for rank, place in enumerate(np.argsort(-sums, kind="stable").tolist(), start=1)
    ]
