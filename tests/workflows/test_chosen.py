"""What `--set` gives: text as it stands, anything else as YAML reads it, where words stay words."""

from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from lakesight.errors import UserError
from lakesight.models.answerer import AnswererOptions
from lakesight.models.base import Kind
from lakesight.models.columns import column_of
from tests.lakesight.models import tiny
from workflows.chosen import model_specs, split_setting, value_of

TEXTS = tuple[str, ...]


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (float, "0.3", 0.3),
        (bool, "true", True),
        (bool, "False", False),
        (int | None, "null", None),
        (int | None, "3", 3),
        (TEXTS, "[yes, no, On, off, 2]", ["yes", "no", "On", "off", 2]),
        (TEXTS, '["is it red?", "no"]', ["is it red?", "no"]),
        (TEXTS, "is it red?", "is it red?"),
        (TEXTS, "colour: which?", "colour: which?"),
        (TEXTS, "null", "null"),
        (TEXTS, "", ""),
        (str, "Question: {}", "Question: {}"),
        (str, "yes", "yes"),
        (str, "[a, b]", "[a, b]"),
        (str, "null", "null"),
        (str | None, "", ""),
        (str | None, "null", None),
        (str | None, "12", "12"),
        (str | None, "this: a text # with: signs", "this: a text # with: signs"),
        (Optional[str], "a: b", "a: b"),  # noqa: UP045 - as pydantic may give it
        (Literal["mean", "all"], "all", "all"),
        (float, "[1, 2", "[1, 2"),
    ],
)
def test_a_value_is_read_as_what_the_option_is(kind: Any, given: str, value: Any) -> None:
    assert value_of("a", given, kind) == value
    assert split_setting(f"a={given}") == ("a", given)


@pytest.mark.parametrize("value", ["[is it red?, no]", "[is it red?]"])
def test_a_list_that_is_none_is_no_text(value: str) -> None:
    with pytest.raises(UserError, match="put its texts in quotes"):
        value_of("questions", value, TEXTS)


def test_texts_of_the_command_line_arrive_as_they_stand(tmp_path: Path) -> None:
    blip2 = str(tiny.write("blip2-opt", tmp_path / "blip2"))
    licences = ["unknown", "opt-175b-licence"]
    names: dict[Kind, list[str]] = {"caption": [blip2], "answer": [blip2]}
    settings = ["caption.prompt=photo: a", "answer.template=Question: {}", "answer.num_beams=2"]
    settings += ["answer.questions=colour: which?", "answer.candidates=[yes, no]"]
    caption, answer = model_specs(names, settings, "auto", licences)
    assert caption.options["prompt"] == "photo: a"
    wanted = {"template": "Question: {}", "num_beams": 2, "questions": ["colour: which?"]}
    assert answer.options | wanted | {"candidates": ["yes", "no"]} == answer.options
    with pytest.raises(UserError, match="the prompt is empty"):
        model_specs(names, ["caption.prompt="], "auto", licences)
    (unprompted, _) = model_specs(names, ["caption.prompt=null"], "auto", licences)
    assert unprompted.options["prompt"] is None
    with pytest.raises(UserError, match=r"option num_beams of blip2: .* got 'many'"):
        model_specs(names, ["answer.num_beams=many"], "auto", licences)


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
    candidates = value_of("candidates", "[yes, no, 2, 1.5]", TEXTS)
    options = AnswererOptions(candidates=candidates, questions="is it red?")
    assert options.candidates == ("yes", "no", "2", "1.5")
    assert options.questions == ("is it red?",)
