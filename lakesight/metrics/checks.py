"""What an evaluator refuses: pictures that do not pair up, objects that do not fit its rules."""

from collections.abc import Sequence

from lakesight.errors import UserError
from lakesight.metrics.mask_iou import check_sizes
from lakesight.metrics.objects import Objects, Predictions, Truth, shapes
from lakesight.metrics.pictures import some
from lakesight.metrics.rules import Rules


def paired(
    truths: Sequence[Truth], predictions: Sequence[Predictions]
) -> list[tuple[Truth, Predictions]]:
    """Return truths beside the predictions of the same picture; UserError for one left over."""
    by_key = {found.picture: found for found in predictions}
    keys = {truth.picture for truth in truths}
    if len(by_key) < len(predictions) or len(keys) < len(truths):
        raise UserError("a picture comes twice in one update: each picture counts once")
    if keys - by_key.keys():
        raise UserError(
            f"no predictions for {some(keys - by_key.keys())}; where a model found nothing, "
            "give Predictions.nothing(picture)"
        )
    if by_key.keys() - keys:
        raise UserError(
            f"predictions without truth, for {some(by_key.keys() - keys)}: give a Truth, without "
            "objects where there are none, or leave the picture out; do keys have one form?"
        )
    return [(truth, by_key[truth.picture]) for truth in truths]


def check_pair(truth: Truth, found: Predictions, rules: Rules) -> None:
    """Refuse classes without a label, objects without the shape that is compared, and the like."""
    for objects in (truth, found):
        if len(objects):
            _check_objects(objects, rules)
    if rules.task == "mask" and len(truth) and len(found):
        check_sizes([*shapes(truth, "mask"), *shapes(found, "mask")])


def check_same(rules: Rules, others: Rules) -> None:
    """Refuse to merge what was judged by different rules."""
    wrong = [name for name, value in vars(rules).items() if value != getattr(others, name)]
    if wrong:
        raise UserError(
            f"evaluators that are merged must have the same rules, but differ in "
            f"{', '.join(wrong)}: make them with the same labels, task and options"
        )


def _check_objects(objects: Objects, rules: Rules) -> None:
    if objects.class_ids.max() >= len(rules.labels):
        raise objects.error(
            f"has the class {objects.class_ids.max()}, but the {len(rules.labels)} labels give "
            f"classes 0 to {len(rules.labels) - 1}"
        )
    compared = shapes(objects, rules.task)
    if rules.task == "keypoints" and compared.shape[1] != len(rules.sigmas):
        raise objects.error(
            f"has {compared.shape[1]} keypoints an object, but there are {len(rules.sigmas)} "
            "sigmas: give one for each keypoint"
        )
