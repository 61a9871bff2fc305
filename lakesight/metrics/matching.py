"""Which detection finds which truth: COCO's greedy matching, for all pictures at once.

Shape letters: N detections, G truths, P pairs, S detections of one step, A areas, T thresholds.
"""

import numpy as np
import numpy.typing as npt

from lakesight.metrics.gather import Gathered
from lakesight.metrics.objects import Flags, Floats, Ids
from lakesight.metrics.overlap import Pairs
from lakesight.metrics.rules import AREAS, IOU_THRESHOLDS

WRONG, RIGHT, IGNORED = 0, 1, 2
"""What becomes of a detection: false positive, true positive, or not counted."""

Outcomes = npt.NDArray[np.int8]

THRESHOLDS: Floats = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
BOUNDS: Floats = np.array(list(AREAS.values()))


def outside_areas(areas: Floats) -> Flags:
    """Return `(N, A)`: whether an object is outside each range of areas."""
    return (areas[:, None] < BOUNDS[:, 0]) | (areas[:, None] > BOUNDS[:, 1])


def match(pairs: Pairs, found: Gathered, truth: Gathered, groups: Ids) -> Outcomes:
    """Return the outcome `(N, A, T)` of every detection; `groups` are those of `found`.

    In each picture and class, detections choose by falling score, at each threshold for itself: the
    free truth of largest overlap that counts, else the one that does not (a crowd is always free);
    of equal overlaps the last. What chose nothing is wrong, or not counted where its own area is
    out of range.
    """
    ignored = truth.ignored[:, None] | outside_areas(truth.areas)  # (G, A)
    unmatched = np.where(outside_areas(found.areas), IGNORED, WRONG).astype(np.int8)
    outcomes = np.repeat(unmatched[:, :, None], len(THRESHOLDS), axis=2)
    taken = np.zeros((len(truth), *outcomes.shape[1:]), bool)
    pairs = pairs.take(pairs.overlap >= THRESHOLDS[0])
    worth = _worth(pairs, ignored)
    turns = _turns(pairs.found, groups)
    order = np.argsort(turns, kind="stable")
    for step in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        if len(step):
            _choose(pairs.take(step), worth[step], ignored, truth.crowd, taken, outcomes)
    return outcomes


def _worth(pairs: Pairs, ignored: Flags) -> npt.NDArray[np.int32]:
    """Return `(P, A)`, above 0 and higher for what is chosen first: what counts, then overlap.

    Places stand for overlaps, so that equal ones stay equal and others never become so.
    """
    places = np.unique(pairs.overlap, return_inverse=True)[1] + 1
    counted = ~ignored[pairs.truth]
    return np.asarray(places[:, None] + counted * len(places), np.int32)


def _turns(found: npt.NDArray[np.intp], groups: Ids) -> Ids:
    """Return the turn `(P,)` at which each pair's detection chooses, within its group, from 0."""
    candidates, place = np.unique(found, return_inverse=True)
    group = groups[candidates]
    return np.asarray((np.arange(len(candidates)) - np.searchsorted(group, group))[place])


def _choose(
    pairs: Pairs,
    worth: npt.NDArray[np.int32],
    ignored: Flags,
    crowd: Flags,
    taken: Flags,
    outcomes: Outcomes,
) -> None:
    """Let one detection of each group choose; writes `taken` and `outcomes`."""
    starts = np.flatnonzero(np.diff(pairs.found, prepend=-1))
    rows = np.arange(len(pairs.found))
    free = crowd[pairs.truth, None, None] | ~taken[pairs.truth]  # (P, A, T)
    free &= (pairs.overlap[:, None] >= THRESHOLDS)[:, None]
    offered = worth[:, :, None] * free
    best = np.maximum.reduceat(offered, starts, axis=0)  # (S, A, T)
    is_best = offered == best.repeat(np.diff(starts, append=len(rows)), axis=0)
    last = np.maximum.reduceat(np.where(is_best, rows[:, None, None], -1), starts, axis=0)
    detection, area, threshold = np.nonzero(best)
    chosen = pairs.truth[last[detection, area, threshold]]
    taken[chosen, area, threshold] = True
    outcome = np.where(ignored[chosen, area], IGNORED, RIGHT)
    outcomes[pairs.found[starts][detection], area, threshold] = outcome
