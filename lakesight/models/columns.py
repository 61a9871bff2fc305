"""What the column is called that a model writes: one answer for all who ask."""

from collections.abc import Iterable, Mapping
from typing import Any

from lakesight.models.base import Kind, ModelSpec

COLUMNS: dict[Kind, str] = {
    "detect": "detections",
    "pose": "detections",
    "classify": "classes",
    "embed": "embedding",
    "caption": "caption",
    "answer": "answers",
    "caption_crops": "crop_captions",
}
"""By the kind of the model, unless its options make it write something else."""


def column_of(spec: ModelSpec) -> str:
    """Return the column that a model writes: the one that was named, else its own."""
    return spec.column or own_column(spec.card.kind, spec.options)


def own_column(kind: Kind, options: Mapping[str, Any]) -> str:
    """Return the column of a model whose column nobody named."""
    if kind == "caption" and options.get("num_captions", 1) > 1:
        return "captions"
    if kind == "embed" and options.get("write") == "features":
        return "features"
    if kind == "embed" and options.get("queries") == "all":
        return "embeddings"
    return COLUMNS[kind]


def embedder_of(models: Iterable[Any], column: str) -> ModelSpec | None:
    """Return the model that wrote a column of vectors, or of features; None where nobody did.

    `models` are those of an output, as `Lake.settings` has them.
    """
    specs = [ModelSpec.model_validate(one) for one in models]
    made = [spec for spec in specs if spec.card.kind == "embed"]
    return next((spec for spec in made if column_of(spec) == column), None)
