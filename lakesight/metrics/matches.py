"""What matching leaves of pictures: all that any figure is made of, a few bytes per object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lakesight.metrics.confusion import confused
from lakesight.metrics.gather import gather_found, gather_truth
from lakesight.metrics.matching import Outcomes, match, outside_areas
from lakesight.metrics.objects import Flags, Floats, Ids, Predictions, Truth
from lakesight.metrics.overlap import overlapping
from lakesight.metrics.rules import AREAS, IOU_THRESHOLDS, Rules


@dataclass(frozen=True)
class Matches:
    """N detections, judged, and G truths; shape letters: A areas, T thresholds, C confused."""

    found_pictures: Ids
    """`(N,)` number of the picture."""
    found_ids: Ids
    """`(N,)` class."""
    scores: Floats
    ranks: Ids
    """`(N,)` place among the detections of its picture and class, by falling score, from 0 on."""
    outcomes: Outcomes
    """`(N, A, T)`."""
    truth_pictures: Ids
    truth_ids: Ids
    counted: Flags
    """`(G, A)`: whether the truth has to be found."""
    confused: Ids
    """`(C, 3)` picture, true class, found class."""

    def renumbered(self, numbers: Ids) -> "Matches":
        """Return the same with picture `i` as number `numbers[i]`."""
        confused_rows = self.confused.copy()
        confused_rows[:, 0] = numbers[confused_rows[:, 0]]
        renumbered = {
            "found_pictures": numbers[self.found_pictures],
            "truth_pictures": numbers[self.truth_pictures],
            "confused": confused_rows,
        }
        return Matches(**{**vars(self), **renumbered})

    def of(self, chosen: Flags) -> "Matches":
        """Return the matches of the chosen pictures `(pictures,)`, these numbered anew."""
        found, truth = chosen[self.found_pictures], chosen[self.truth_pictures]
        kept = Matches(
            found_pictures=self.found_pictures[found],
            found_ids=self.found_ids[found],
            scores=self.scores[found],
            ranks=self.ranks[found],
            outcomes=self.outcomes[found],
            truth_pictures=self.truth_pictures[truth],
            truth_ids=self.truth_ids[truth],
            counted=self.counted[truth],
            confused=self.confused[chosen[self.confused[:, 0]]],
        )
        return kept.renumbered(np.cumsum(chosen) - 1)


def empty() -> Matches:
    """Return the matches of no picture."""
    no_ids, lanes = np.zeros(0, np.int64), (len(AREAS), len(IOU_THRESHOLDS))
    return Matches(
        found_pictures=no_ids,
        found_ids=no_ids,
        scores=np.zeros(0),
        ranks=no_ids,
        outcomes=np.zeros((0, *lanes), np.int8),
        truth_pictures=no_ids,
        truth_ids=no_ids,
        counted=np.zeros((0, lanes[0]), bool),
        confused=np.zeros((0, 3), np.int64),
    )


def joined(parts: Sequence[Matches]) -> Matches:
    """Return the matches of all parts, one after the other."""
    columns = [vars(part) for part in (empty(), *parts)]
    return Matches(
        **{name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    )


def match_pictures(
    truths: Sequence[Truth], predictions: Sequence[Predictions], rules: Rules
) -> Matches:
    """Return the matches of pictures 0, 1, …; the two sequences are aligned."""
    truth, found = gather_truth(truths, rules), gather_found(predictions, rules)
    num_classes = len(rules.labels)
    groups = found.groups(num_classes)
    pairs = overlapping(found, truth, groups, truth.groups(num_classes), rules)
    return Matches(
        found_pictures=found.pictures,
        found_ids=found.class_ids,
        scores=found.scores,
        ranks=found.ranks(num_classes),
        outcomes=match(pairs, found, truth, groups),
        truth_pictures=truth.pictures,
        truth_ids=truth.class_ids,
        counted=~(truth.ignored[:, None] | outside_areas(truth.areas)),
        confused=confused(found, truth, rules),
    )
