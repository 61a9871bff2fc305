"""What `--set` gives: values as YAML reads them, but words stay words."""

from pathlib import Path
from typing import Any

import pytest

from lakesight.errors import UserError
from lakesight.models.answerer import AnswererOptions
from lakesight.models.base import Kind
from lakesight.models.columns import column_of
from tests.lakesight.models import tiny
from workflows.chosen import model_specs, option


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


def test_models_that_would_write_one_column_are_refused(tmp_path: Path) -> None:
    captioner = str(tiny.write("blip", tmp_path / "blip"))
    names: dict[Kind, list[str]] = {"caption": [captioner, f"captions={captioner}"]}
    (first, second) = model_specs(names, [], "auto", ["unknown"])
    assert (column_of(first), column_of(second)) == ("caption", "captions")
    with pytest.raises(UserError, match="two models would write the column 'captions'"):
        model_specs(names, ["caption.num_captions=3"], "auto", ["unknown"])
    finder = str(tiny.write("blip2-itc", tmp_path / "itc"))
    both: dict[Kind, list[str]] = {"embed": [finder, f"embeddings={finder}"]}
    assert len(model_specs(both, [], "auto", ["unknown"])) == 2
    with pytest.raises(UserError, match="two models would write the column 'embeddings'"):
        model_specs(both, ["embed.queries=all"], "auto", ["unknown"])


def test_answers_are_texts() -> None:
    _, candidates = option("a=[yes, no, 2, 1.5]")
    options = AnswererOptions(candidates=candidates, questions="is it red?")
    assert options.candidates == ("yes", "no", "2", "1.5")
    assert options.questions == ("is it red?",)
