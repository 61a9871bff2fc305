"""The models of a job: from what the command line names to specs, checked together."""

import re
from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Kind, ModelCard, ModelSpec, RuntimeName
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
            card = catalog.resolve(model, kind)
            spec = catalog.spec_of(card, options_for(card, given), runtime, licences)
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


def split_setting(setting: str, wanted: str = "OPTION=VALUE") -> tuple[str, str]:
    """Return name and value of `OPTION=VALUE`, as they stand; UserError for no such thing.

    `wanted` is what the error asks for.
    """
    name, has_value, value = setting.partition("=")
    if not has_value or not name:
        raise UserError(f"--set wants {wanted}; got {setting!r}")
    return name, value


def options_for(card: ModelCard, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a model's options, each read as what the option is."""
    fields = catalog.options_of(card).model_fields
    return {
        name: value_of(name, value, fields[name].annotation if name in fields else str)
        for name, value in given.items()
    }


def value_of(name: str, value: str, kind: Any) -> Any:
    """Return a value as an option of a type takes it: text as it stands, anything else as YAML.

    `null` is none where an option may be none. A list of texts that is in no brackets is one text.
    """
    if value == "null" and type(None) in get_args(kind):
        return None
    if _is_text(kind) or (kind == tuple[str, ...] and not value.startswith("[")):
        return value
    try:
        return yaml.load(value, _Words)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        if value.startswith("[") and value.endswith("]"):
            raise UserError(
                f'--set {name} is no list: put its texts in quotes, as \'["is it red?", "no"]\'; '
                f"got {value!r}"
            ) from None
        return value  # which the option will refuse


def _is_text(kind: Any) -> bool:
    """Return whether a type is text, a choice among texts, or either of them or none."""
    if get_origin(kind) is Annotated:
        return _is_text(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return all(isinstance(one, str) for one in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return all(_is_text(one) for one in get_args(kind) if one is not type(None))
    return kind is str


def _options(settings: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return `WORD.OPTION=VALUE` as options by kind or column."""
    wanted = f"KIND.OPTION=VALUE, KIND one of {', '.join(KINDS)}, or a column that you named"
    options: dict[str, dict[str, str]] = {}
    for setting in settings:
        name, value = split_setting(setting, wanted)
        word, _, last = name.partition(".")
        if not last:
            raise UserError(f"--set wants {wanted}; got {setting!r}")
        options.setdefault(word, {})[last] = value
    return options
