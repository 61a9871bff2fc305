"""A small body that is wrong many times over costs little: its mistakes do not add up."""

from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from lakesight.online.app import BODIES
from lakesight.online.json_bodies import JsonLimits, parse
from lakesight.online.problems import Problem

NUM_ITEMS = 1000


def sequences(annotation: Any) -> bool:
    """Return whether a type is, or may be, a list whose items are checked."""
    if get_origin(annotation) in (list, tuple):
        return get_args(annotation)[0] is not Any
    return any(map(sequences, get_args(annotation)))


def models(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a model, and those of its fields."""
    found = {kind}
    waiting = [field.annotation for field in kind.model_fields.values()]
    while waiting:
        one = waiting.pop()
        waiting += get_args(one)
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in found:
            found |= models(one)
    return found


FIELDS = sorted(
    {
        (model, name)
        for body in BODIES
        for model in models(body)
        for name, field in model.model_fields.items()
        if sequences(field.annotation)
    },
    key=str,
)


def test_there_are_some() -> None:
    names = {name for _, name in FIELDS}
    assert {"images", "texts", "questions", "messages", "content", "input", "inputs"} <= names


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_wrong_items_do_not_add_up(model: type[BaseModel], name: str) -> None:
    for wrong in (object(), {}, "x" * 10_000):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({name: [wrong] * NUM_ITEMS})
        assert caught.value.error_count() < 20


def test_unknown_names_do_not_add_up() -> None:
    raw = b"{" + b",".join(b'"%d":1' % number for number in range(NUM_ITEMS + 1)) + b"}"
    with pytest.raises(Problem, match="more than 1000 keys"):
        parse(raw, JsonLimits())
