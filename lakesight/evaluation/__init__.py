"""How good a model is on labelled pictures: what it finds on them, and what it says of them.

Every picture goes the way that `annotate` takes it: bytes, view, network, column. What a committed
output holds is judged by the same rules.
"""

from lakesight.evaluation.judging import Judge
from lakesight.evaluation.objects import SHAPES
from lakesight.evaluation.pairing import (
    Share,
    add_rows,
    evaluate_output,
    field_of,
    labelled_shares,
    noted,
)
from lakesight.evaluation.result import Evaluation, Result
from lakesight.evaluation.running import (
    OPTIONS,
    Judged,
    add_pictures,
    data_for,
    evaluate,
    open_judge,
    open_judged,
    shares_of,
    to_judge,
)
from lakesight.evaluation.tasks import TASKS, columns_of, judge_of, judging_of, open_labels, task_of
from lakesight.evaluation.texts import Texts
from lakesight.evaluation.truth import truth_of

__all__ = [
    "OPTIONS",
    "SHAPES",
    "TASKS",
    "Evaluation",
    "Judge",
    "Judged",
    "Result",
    "Share",
    "Texts",
    "add_pictures",
    "add_rows",
    "columns_of",
    "data_for",
    "evaluate",
    "evaluate_output",
    "field_of",
    "judge_of",
    "judging_of",
    "labelled_shares",
    "noted",
    "open_judge",
    "open_judged",
    "open_labels",
    "shares_of",
    "task_of",
    "to_judge",
    "truth_of",
]
