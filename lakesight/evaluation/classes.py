"""Judging the classes of whole pictures."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.labels import Labels, null_notes
from lakesight.evaluation.result import Evaluation, of_one
from lakesight.evaluation.truth import kinds_of
from lakesight.metrics import Bootstrap, ClassEvaluator, MultiLabelEvaluator
from lakesight.training.yolo.datasets import Labelled, Pictures


class ClassJudge:
    """Judges one class a picture; any number of them where the dataset is `multi_label`."""

    def __init__(self, dataset: Pictures) -> None:
        self.labels = Labels(dataset.labels)
        self._several = dataset.multi_label
        other = [one for one in dataset.pictures if len(one.class_ids) != 1]
        if other and not self._several:
            raise UserError(
                f"{other[0].path} has {len(other[0].class_ids)} classes: give it one, or judge all "
                "classes of a picture with multi_label"
            )
        self.one_class = ClassEvaluator(dataset.labels)
        self.any_class = MultiLabelEvaluator(dataset.labels)
        self.num_blank = 0

    def update(self, pictures: Sequence[Labelled], found: pa.Array) -> None:
        """See `Judge`."""
        self.labels.add(found)
        names, kinds = [str(one.path) for one in pictures], [kinds_of(one) for one in pictures]
        scores = self.labels.scores(found)
        blank = np.isnan(scores).all(axis=1)
        scores = np.nan_to_num(scores, nan=0)
        if self._several:
            self.num_blank += found.null_count
            truth = np.zeros_like(scores, bool)
            for row, picture in enumerate(pictures):
                truth[row, picture.class_ids] = True
            self.any_class.update(names, truth, scores, kinds)
            return
        self.num_blank += int(blank.sum())
        true_ids = np.array([int(one.class_ids[0]) for one in pictures])
        self.one_class.update(names, true_ids, scores, kinds, named=~blank)

    def merge(self, other: "ClassJudge") -> None:
        """See `Judge`."""
        self.one_class.merge(other.one_class)
        self.any_class.merge(other.any_class)
        self.labels.merge(other.labels)
        self.num_blank += other.num_blank

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """See `Judge`."""
        judge = self.any_class if self._several else self.one_class
        blank = null_notes(self.num_blank, "no class named")
        notes = (*self.labels.notes("classes"), *blank)
        return of_one("classes", judge, bootstrap, slices, notes)
