"""From matches to the figures of an evaluation."""

from collections.abc import Sequence

import numpy as np

from lakesight.metrics.bootstrap import Bootstrap, draw_intervals
from lakesight.metrics.confusion import confusion
from lakesight.metrics.curves import curves, operating_point
from lakesight.metrics.matches import Matches
from lakesight.metrics.objects import Floats
from lakesight.metrics.precision import (
    Ranked,
    average_precision,
    mean_of_known,
    rank_by_class,
    recall,
)
from lakesight.metrics.result import ClassResult, DetectionResult, SizeResult
from lakesight.metrics.rules import ALL, AREAS, AT_50, AT_75, Rules

SIZES = {name: area for area, name in enumerate(AREAS) if area != ALL}


def detection_result(
    matches: Matches, num_pictures: int, rules: Rules, bootstrap: Bootstrap | None = None
) -> DetectionResult:
    """Return the figures of pictures 0 to `num_pictures`."""
    ranked = rank_by_class(matches, len(rules.labels))
    ap, ar = _precisions(ranked, num_pictures), _recalls(ranked, rules.max_detections[-1])
    return DetectionResult(
        task=rules.task,
        num_pictures=num_pictures,
        num_truth=int(matches.counted[:, ALL].sum()),
        num_found=len(matches.scores),
        map=_mean(ap[ALL]),
        map50=_mean(ap[ALL, :, AT_50]),
        map75=_mean(ap[ALL, :, AT_75]),
        recall={limit: _mean(_recalls(ranked, limit)[ALL]) for limit in rules.max_detections},
        recall50=_mean(ar[ALL, :, AT_50]),
        recall75=_mean(ar[ALL, :, AT_75]),
        sizes={
            name: SizeResult(_mean(ap[area]), _mean(ar[area]), int(matches.counted[:, area].sum()))
            for name, area in SIZES.items()
        },
        classes=tuple(
            _class_result(label, one, ap[:, number], ar[ALL, number])
            for number, (label, one) in enumerate(zip(rules.labels, ranked, strict=True))
        ),
        curves=curves(ranked),
        confusion=confusion(matches.confused, rules),
        intervals=draw_intervals(ranked, num_pictures, bootstrap) if bootstrap else None,
    )


def _precisions(ranked: Sequence[Ranked], num_pictures: int) -> Floats:
    """Return `(A, K, T)` average precisions."""
    once = np.ones((1, num_pictures))
    areas = range(len(AREAS))
    return np.stack([[average_precision(one, once, area)[0] for one in ranked] for area in areas])


def _recalls(ranked: Sequence[Ranked], limit: int) -> Floats:
    """Return `(A, K, T)` recalls of so many detections a picture."""
    return np.stack([[recall(one, area, limit) for one in ranked] for area in range(len(AREAS))])


def _class_result(label: str, ranked: Ranked, ap: Floats, ar: Floats) -> ClassResult:
    """Return the figures of a class from its `(A, T)` precisions and `(T,)` recalls."""
    means = ap.mean(axis=1)
    return ClassResult(
        label=label,
        num_truth=ranked.num_truth(),
        num_found=len(ranked.scores),
        ap=float(means[ALL]),
        ap50=float(ap[ALL, AT_50]),
        ap75=float(ap[ALL, AT_75]),
        recall=float(ar.mean()),
        ap_by_size={name: float(means[area]) for name, area in SIZES.items()},
        best=operating_point(ranked),
    )


def _mean(values: Floats) -> float:
    return float(mean_of_known(values))
