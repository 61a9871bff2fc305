"""Judges: they take pictures and what was found on them, and give an evaluation."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.evaluation.answers import AnswerJudge
from lakesight.evaluation.captions import CaptionJudge
from lakesight.evaluation.classes import ClassJudge
from lakesight.evaluation.objects import ObjectJudge
from lakesight.evaluation.result import Evaluation
from lakesight.evaluation.retrieval import RetrievalJudge
from lakesight.evaluation.texts import Texts
from lakesight.metrics import Bootstrap
from lakesight.models.base import TextEncoder
from lakesight.schemas import ROW, is_vector, object_fields
from lakesight.training.yolo.datasets import Pictures

P_contra = TypeVar("P_contra", contravariant=True)


class Judge(Protocol[P_contra]):
    """Takes pictures in any order, each once; shares may be judged apart, and merged.

    It pickles: a fresh one goes to whoever judges a share, and comes back with what that saw. Those
    merged in the order of the shares give the figures of one that saw all, to the last digit.
    """

    def update(self, pictures: Sequence[P_contra], found: pa.Array) -> None:
        """Add pictures and a model's column of them; null is a picture it could not look at."""
        ...

    def merge(self, other: Any) -> None:
        """Add what a judge of the same kind has seen of other pictures."""
        ...

    def result(self, bootstrap: Bootstrap | None = None, slices: Sequence[str] = ()) -> Evaluation:
        """Return the figures so far; UserError where no picture has a slice."""
        ...


def judge_objects(dataset: Pictures, _: object | None) -> ObjectJudge:
    """Return the judge of boxes, masks, keypoints or rotated boxes."""
    return ObjectJudge(dataset)


def judge_classes(dataset: Pictures, _: object | None) -> ClassJudge:
    """Return the judge of classes."""
    return ClassJudge(dataset)


def judge_captions(dataset: Texts, _: object | None) -> CaptionJudge:
    """Return the judge of captions."""
    return CaptionJudge(dataset)


def judge_answers(_: Texts, __: object | None) -> AnswerJudge:
    """Return the judge of answers."""
    return AnswerJudge()


def judge_search(texts: Texts, encoder: object | None) -> RetrievalJudge:
    """Return the judge of vectors that texts search; UserError where nothing embeds the texts."""
    if not isinstance(encoder, TextEncoder):
        raise UserError(
            "to search pictures by captions, their words must be embedded too: take a model of the "
            "family image-text (CLIP, SigLIP, SigLIP2, BLIP, BLIP-2), or for an output name the "
            "one that made it as --text-model"
        )
    return RetrievalJudge(encoder, texts.rerank)


def holds_captions(column: pa.Field) -> bool:
    """Return whether somebody wrote something into a column, about each picture."""
    is_text = pa.types.is_string(column.type) and column.name not in ROW.names
    return is_text or "text" in object_fields(column.type)


def holds_vectors(column: pa.Field) -> bool:
    """Return whether a column has a vector for each picture, or several."""
    return is_vector(column.type)
