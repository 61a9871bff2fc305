"""Refusing what an evaluator of language cannot judge."""

from collections.abc import Sequence, Sized

from lakesight.errors import UserError
from lakesight.metrics.objects import Key


def check_lengths(keys: Sequence[Key], **given: Sized) -> None:
    """Refuse another number of anything than there are keys."""
    for name, values in given.items():
        if isinstance(values, str) or len(values) != len(keys):
            raise UserError(
                f"{len(keys)} keys need as many {name}, but got "
                + (f"one string: {values!r}" if isinstance(values, str) else f"{len(values)}")
            )


def check_references(keys: Sequence[Key], references: Sequence[Sequence[str]]) -> None:
    """Refuse a key without anything to compare with, and a string in the place of a list."""
    for key, texts in zip(keys, references, strict=True):
        if isinstance(texts, str) or not len(texts):
            raise UserError(
                f"{key!r} must have a list of one or more references, but has {texts!r}"
            )
