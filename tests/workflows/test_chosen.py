"""What `--set` gives: values as YAML reads them, but words stay words."""

from typing import Any

import pytest

from lakesight.errors import UserError
from lakesight.models.answerer import AnswererOptions
from workflows.chosen import option


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("a=0.3", 0.3),
        ("a=true", True),
        ("a=False", False),
        ("a=yes", "yes"),
        ("a=[yes, no, On, off, 2]", ["yes", "no", "On", "off", 2]),
        ("a=null", None),
        ("a=is it red?", "is it red?"),
        ('a=["is it red?", "no"]', ["is it red?", "no"]),
        ("a=[1, 2", "[1, 2"),
        ("a=this: a text: with colons", "this: a text: with colons"),
    ],
)
def test_a_value_is_read_as_yaml(setting: str, value: Any) -> None:
    assert option(setting) == ("a", value)


@pytest.mark.parametrize("value", ["[is it red?, no]", "[is it red?]"])
def test_a_list_that_is_none_is_no_text(value: str) -> None:
    with pytest.raises(UserError, match="put its texts in quotes"):
        option(f"a={value}")


def test_answers_are_texts() -> None:
    _, candidates = option("a=[yes, no, 2, 1.5]")
    options = AnswererOptions(candidates=candidates, questions="is it red?")
    assert options.candidates == ("yes", "no", "2", "1.5")
    assert options.questions == ("is it red?",)
