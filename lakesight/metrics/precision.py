"""Average precision and recall from matches, for any weights of the pictures.

A weight says how often a picture counts: 1 for the plain figure, how often it was drawn for a
bootstrap. Shape letters: R rows of weights, N detections of a class, P right ones.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lakesight.metrics.matches import Matches
from lakesight.metrics.matching import IGNORED, RIGHT, Outcomes
from lakesight.metrics.objects import Flags, Floats, Ids
from lakesight.metrics.rules import ALL, IOU_THRESHOLDS, RECALL_POINTS


@dataclass(frozen=True)
class Ranked:
    """The detections of one class by falling score, and its truth."""

    pictures: Ids
    """`(N,)`."""
    scores: Floats
    ranks: Ids
    outcomes: Outcomes
    """`(N, A, T)`."""
    truth_pictures: Ids
    """`(G,)`."""
    counted: Flags
    """`(G, A)`."""

    def num_truth(self, area: int = ALL) -> int:
        """Return how many truths have to be found."""
        return int(self.counted[:, area].sum())


def rank_by_class(matches: Matches, num_classes: int) -> list[Ranked]:
    """Return each class's detections by falling score; equal ones by picture, then by rank."""
    order = np.lexsort((matches.ranks, matches.found_pictures, -matches.scores, matches.found_ids))
    bounds = np.searchsorted(matches.found_ids[order], np.arange(num_classes + 1))
    truth_order = np.argsort(matches.truth_ids, kind="stable")
    truth_bounds = np.searchsorted(matches.truth_ids[truth_order], np.arange(num_classes + 1))
    return [
        _ranked(
            matches,
            order[bounds[number] : bounds[number + 1]],
            truth_order[truth_bounds[number] : truth_bounds[number + 1]],
        )
        for number in range(num_classes)
    ]


def _ranked(matches: Matches, found: npt.NDArray[np.intp], truth: npt.NDArray[np.intp]) -> Ranked:
    return Ranked(
        pictures=matches.found_pictures[found],
        scores=matches.scores[found],
        ranks=matches.ranks[found],
        outcomes=matches.outcomes[found],
        truth_pictures=matches.truth_pictures[truth],
        counted=matches.counted[truth],
    )


def average_precision(ranked: Ranked, weights: Floats, area: int = ALL) -> Floats:
    """Return `(R, T)` average precisions over 101 points of recall; NaN without truth.

    Only detections that are right can be the best precision from a recall on, and a recall point is
    reached at one: so only these are looked at. `weights` is `(R, pictures)`.
    """
    num_truth = weights[:, ranked.truth_pictures[ranked.counted[:, area]]].sum(axis=1)
    drawn = weights[:, ranked.pictures]  # (R, N)
    seen = np.cumsum(drawn, axis=1)
    outcomes = ranked.outcomes[:, area]
    values = [
        _precision_area(drawn, seen, outcomes[:, threshold], num_truth)
        for threshold in range(len(IOU_THRESHOLDS))
    ]
    return np.where(num_truth[:, None] > 0, np.stack(values, axis=1), np.nan)


def _precision_area(
    drawn: Floats, seen: Floats, outcomes: npt.NDArray[np.int8], num_truth: Floats
) -> Floats:
    """Return `(R,)` means of the best precision at and beyond each recall point."""
    right = np.flatnonzero(outcomes == RIGHT)
    found = np.cumsum(drawn[:, right], axis=1)  # (R, P)
    judged = seen[:, right] - _before(drawn, np.flatnonzero(outcomes == IGNORED), right)
    best = best_beyond(found / (judged + np.spacing(1.0)))
    recall = found / np.maximum(num_truth, 1)[:, None]
    reached = np.searchsorted(RECALL_POINTS, recall, side="right")
    points = np.diff(reached, axis=1, prepend=0)
    return np.asarray((best * points).sum(axis=1) / len(RECALL_POINTS))


def _before(
    drawn: Floats, ignored: npt.NDArray[np.intp], right: npt.NDArray[np.intp]
) -> Floats | float:
    """Return `(R, P)` weights of the ignored detections before each right one."""
    if not len(ignored):
        return 0.0
    total = np.cumsum(drawn[:, ignored], axis=1)
    total = np.concatenate([np.zeros((len(drawn), 1)), total], axis=1)
    return np.asarray(total[:, np.searchsorted(ignored, right)])


def best_beyond(precision: Floats) -> Floats:
    """Return the largest value at and after each place of the last axis."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def recall(ranked: Ranked, area: int, max_detections: int) -> Floats:
    """Return `(T,)` parts of the truth that the best so many detections of a picture find.

    NaN without truth.
    """
    right = (ranked.outcomes[:, area] == RIGHT) & (ranked.ranks < max_detections)[:, None]
    num_truth = ranked.num_truth(area)
    return right.sum(axis=0) / num_truth if num_truth else np.full(right.shape[1], np.nan)


def mean_of_known(values: npt.ArrayLike, axis: int | None = None) -> Floats:
    """Return the mean of what is not NaN; NaN where nothing is known."""
    array = np.asarray(values, np.float64)
    known = ~np.isnan(array)
    count = known.sum(axis=axis)
    total = np.where(known, array, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
