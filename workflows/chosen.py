"""The models of a job: from what the command line names to specs, checked together."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Kind, ModelSpec, RuntimeName
from lakesight.models.columns import COLUMNS, column_of
from lakesight.schemas import ROW, WORDS


class _Words(yaml.SafeLoader):
    """YAML in which yes, no, on and off are words, as YAML 1.2 has it: answers to questions."""


_Words.yaml_implicit_resolvers = {
    first: [
        (tag, regexp)
        for tag, regexp in resolvers
        if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")
TOLD: dict[Kind, tuple[str, ...]] = {"caption": ("prompt",), "answer": ("questions", "candidates")}
"""The columns of a list that a model of a kind is told, of `schemas.WORDS`."""

KINDS: tuple[Kind, ...] = (
    "detect", "pose", "classify", "embed", "caption", "answer", "caption_crops",
)  # fmt: skip
"""The order in which models see a picture: pose and caption_crops work on what detect found."""


def model_specs(
    names: Mapping[Kind, Sequence[str]],
    settings: Sequence[str],
    runtime: RuntimeName,
    licences: Sequence[str],
) -> list[ModelSpec]:
    """Return the models of a job in the order in which they see a picture.

    `names` are those of each kind, `settings` what `--set` gives, `licences` what is accepted.
    """
    options = _options(settings)
    used: set[str] = set()
    specs = []
    for kind in KINDS:
        for name in names.get(kind, ()):
            column, model = _named(name)
            used |= {kind, column or kind}
            given = options.get(kind, {}) | options.get(column or kind, {})
            spec = catalog.spec(model, kind, given, runtime, licences)
            specs.append(spec.model_copy(update={"column": column}))
    if unused := options.keys() - used:
        asked = ", ".join(sorted(used)) or "none"
        raise UserError(f"--set names {', '.join(sorted(unused))}; the models asked for: {asked}")
    if not specs:
        raise UserError(
            "no model was asked for: give --detect, --classify, --embed, --caption or --answer"
        )
    _check_columns(specs)
    return specs


def _named(name: str) -> tuple[str | None, str]:
    """Return the column, if one was named, and the model of `COLUMN=NAME` or `NAME`."""
    column, _, model = name.partition("=")
    return (column, model) if model and COLUMN_NAME.fullmatch(column) else (None, name)


def _check_columns(specs: Sequence[ModelSpec]) -> None:
    """Raise UserError where two models would write one column, or one that every row has."""
    taken = {*ROW.names, *WORDS.names}
    for spec in specs:
        column = column_of(spec)
        if spec.card.kind == "pose":
            _check_pose(spec, specs, taken)
        elif column in taken:
            raise UserError(
                f"two models would write the column {column!r}, or every row has it already: name "
                f"another, as --{flag(spec.card.kind)} COLUMN={spec.card.name}"
            )
        elif spec.card.kind == "caption_crops":
            _check_crops(spec, specs)
        taken.add(column)


def _check_pose(spec: ModelSpec, specs: Sequence[ModelSpec], taken: Collection[str]) -> None:
    column = COLUMNS["pose"]
    if spec.column is not None:
        raise UserError(f"--pose adds keypoints to the column {column!r}: give it no other name")
    if sum(other.card.kind == "pose" for other in specs) > 1:
        raise UserError("two pose models would write the same keypoints: give one --pose")
    if column not in taken:
        raise UserError(
            f"--pose adds keypoints to what --detect found, in the column {column!r}: give "
            "--detect too, without another column"
        )


def _check_crops(spec: ModelSpec, specs: Sequence[ModelSpec]) -> None:
    objects = spec.options["detections"]
    found = {column_of(other) for other in specs if other.card.kind == "detect"}
    if objects not in found:
        raise UserError(
            f"--caption-crops looks at what --detect found, in the column {objects!r}: give "
            "--detect too, or name its column as --set caption_crops.detections=COLUMN"
        )


def flag(kind: Kind) -> str:
    """Return the command line's word for a kind."""
    return kind.replace("_", "-")


def option(setting: str, wanted: str = "OPTION=VALUE") -> tuple[str, Any]:
    """Return name and value of `OPTION=VALUE`, the value read as YAML; UserError for no such thing.

    `wanted` is what the error asks for.
    """
    name, has_value, value = setting.partition("=")
    if not has_value or not name:
        raise UserError(f"--set wants {wanted}; got {setting!r}")
    try:
        return name, yaml.load(value, _Words)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        if value.startswith("[") and value.endswith("]"):
            raise UserError(
                f'--set {name} is no list: put its texts in quotes, as \'["is it red?", "no"]\'; '
                f"got {value!r}"
            ) from None
        return name, value  # a text, such as a prompt with a colon in it


def _options(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `WORD.OPTION=VALUE` as options by kind or column."""
    wanted = f"KIND.OPTION=VALUE, KIND one of {', '.join(KINDS)}, or a column that you named"
    options: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, value = option(setting, wanted)
        word, _, last = name.partition(".")
        if not last:
            raise UserError(f"--set wants {wanted}; got {setting!r}")
        options.setdefault(word, {})[last] = value
    return options
