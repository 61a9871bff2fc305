"""What a model's column is called, by its spec and by the model that is built of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lakesight.models import catalog
from lakesight.models.base import Kind, ModelSpec
from lakesight.models.columns import COLUMNS, column_of

Checkpoint = Callable[[str], Path]

CASES: list[tuple[str, Kind, dict[str, Any], str]] = [
    ("clip", "embed", {}, "embedding"),
    ("blip2-itc", "embed", {"queries": "mean"}, "embedding"),
    ("blip2-itc", "embed", {"queries": "all"}, "embeddings"),
    ("blip2-itc", "embed", {"write": "features"}, "features"),
    ("blip2-itc", "embed", {"write": "features", "queries": "all"}, "features"),
    ("blip", "caption", {}, "caption"),
    ("blip2-opt", "caption", {"num_captions": 3}, "captions"),
    ("blip2-opt", "answer", {}, "answers"),
    ("blip2-opt", "caption_crops", {}, "crop_captions"),
    ("rt-detr-v2", "detect", {}, "detections"),
]


@pytest.mark.parametrize(("name", "kind", "options", "column"), CASES)
def test_a_spec_tells_the_column_that_its_model_writes(
    name: str,
    kind: Kind,
    options: dict[str, Any],
    column: str,
    checkpoint: Checkpoint,
    load: Callable[..., Any],
) -> None:
    licences = ["unknown", "opt-175b-licence"]
    spec = catalog.spec(str(checkpoint(name)), kind, {"device": "cpu", **options}, "auto", licences)
    assert column_of(spec) == column
    assert catalog.build(spec).output.name == column
    named = spec.model_copy(update={"column": "mine"})
    assert column_of(named) == catalog.build(named).output.name == "mine"
    if kind == catalog.resolve(str(checkpoint(name))).kind:
        assert load(checkpoint(name), **options).output.name == column  # which knows no spec


@pytest.mark.parametrize("card", catalog.built_in().values(), ids=list(catalog.built_in()))
def test_a_built_in_model_writes_the_column_of_its_kind(card: Any) -> None:
    assert column_of(ModelSpec(card=card)) == COLUMNS[card.kind]
    assert catalog.build(catalog.spec(card.name)).output.name == COLUMNS[card.kind]
