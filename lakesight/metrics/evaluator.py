"""Mean average precision of boxes, masks, keypoints and rotated boxes, picture by picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lakesight.metrics.bootstrap import Bootstrap
from lakesight.metrics.checks import check_pair, check_same, paired
from lakesight.metrics.figures import detection_result
from lakesight.metrics.matches import Matches, joined, match_pictures
from lakesight.metrics.objects import Predictions, Task, Truth
from lakesight.metrics.pictures import Pictures
from lakesight.metrics.result import DetectionResult
from lakesight.metrics.rules import COCO_SIGMAS, MAX_DETECTIONS, Rules

PENDING = 20_000
"""Objects that wait before they are matched together: many small pictures at once are quicker."""


@dataclass(frozen=True)
class Tally:
    """What an evaluator has seen: enough for every figure, and small to send."""

    rules: Rules
    pictures: Pictures
    matches: Matches
    """Pictures are numbered as they came."""


class DetectionEvaluator:
    """Judges detections as COCO does, and more.

        evaluator = DetectionEvaluator(("cat", "dog"), "mask")
        for truth, found in …:
            evaluator.update(truth, found)
        print(evaluator.result(Bootstrap()).table())

    Memory grows by about 80 bytes per detection, whatever the size of masks. Workers may each judge
    their share and `merge` at the end: the figures do not depend on who saw which picture. It
    pickles, and matches before it does.
    """

    def __init__(
        self,
        labels: Sequence[str],
        task: Task = "box",
        *,
        sigmas: Sequence[float] = COCO_SIGMAS,
        max_detections: Sequence[int] | None = None,
        confusion_iou: float = 0.5,
        confusion_confidence: float = 0.25,
    ) -> None:
        """See `Rules` for the options; `max_detections` is COCO's for the task."""
        limits = MAX_DETECTIONS.get(task, (1,)) if max_detections is None else max_detections
        self.rules = Rules(
            labels=tuple(labels),
            task=task,
            sigmas=tuple(float(sigma) for sigma in sigmas),
            max_detections=tuple(limits),
            confusion_iou=confusion_iou,
            confusion_confidence=confusion_confidence,
        ).checked()
        self._pictures = Pictures()
        self._matches: list[Matches] = []
        self._pending: list[tuple[Truth, Predictions]] = []
        self._num_pending = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def __getstate__(self) -> dict[str, Any]:
        self._match_pending()
        return vars(self)

    def update(
        self, truth: Truth | Iterable[Truth], found: Predictions | Iterable[Predictions]
    ) -> None:
        """Add one picture or several, in any order, paired by their key.

        UserError, and nothing added, where a picture has only one of the two (for one on which
        nothing was found, `Predictions.nothing`), was added before, or does not fit the rules.
        """
        truths = [truth] if isinstance(truth, Truth) else list(truth)
        pairs = paired(truths, [found] if isinstance(found, Predictions) else list(found))
        for pair in pairs:
            check_pair(*pair, self.rules)
        self._pictures.add([one.picture for one, _ in pairs], [one.slices for one, _ in pairs])
        self._pending += pairs
        self._num_pending += sum(len(one) + len(other) for one, other in pairs)
        if self._num_pending >= PENDING:
            self._match_pending()

    def tally(self) -> Tally:
        """Return what has been seen so far."""
        self._match_pending()
        return Tally(self.rules, self._pictures, joined(self._matches))

    def merge(self, other: "DetectionEvaluator") -> None:
        """Add the pictures of another evaluator.

        UserError, and nothing added, where the rules differ or both have seen a picture.
        """
        tally = other.tally()
        check_same(self.rules, tally.rules)
        self._match_pending()
        first = len(self._pictures)
        self._pictures.merge(tally.pictures)
        self._matches.append(tally.matches.renumbered(np.arange(first, len(self._pictures))))

    def result(self, bootstrap: Bootstrap | None = None) -> DetectionResult:
        """Return the figures so far; with a `Bootstrap`, their confidence intervals too."""
        return detection_result(self._in_order(), len(self), self.rules, bootstrap)

    def slices(self, name: str, bootstrap: Bootstrap | None = None) -> dict[str, DetectionResult]:
        """Return the figures of the pictures of each kind, by `Truth.slices[name]`.

        A picture without that name is in no slice; UserError where no picture has it.
        """
        matches, order = self._in_order(), self._pictures.order()
        return {
            kind: detection_result(
                matches.of(chosen[order]), int(chosen.sum()), self.rules, bootstrap
            )
            for kind, chosen in self._pictures.kinds(name).items()
        }

    def _match_pending(self) -> None:
        if not self._pending:
            return
        truths, predictions = zip(*self._pending, strict=True)
        matches = match_pictures(truths, predictions, self.rules)
        first = len(self._pictures) - len(self._pending)
        self._matches.append(matches.renumbered(np.arange(first, len(self._pictures))))
        self._pending, self._num_pending = [], 0

    def _in_order(self) -> Matches:
        """Return all matches, with the pictures numbered by rising key."""
        numbers = np.argsort(self._pictures.order())
        return self.tally().matches.renumbered(numbers)
