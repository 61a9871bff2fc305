"""What may be said to a model that writes: prompts, and questions in their template."""

from typing import Annotated

from pydantic import AfterValidator

TEMPLATE = "Question: {} Short answer:"
"""The prompt of a question that BLIP-2 was evaluated with; {} is the question."""


def filled(prompt: str) -> str:
    """Return the prompt; `ValueError` for one without a word."""
    if not prompt.strip():
        raise ValueError("the prompt is empty: expected words, or null for none")
    return prompt


def question_prompt(template: str, question: str) -> str:
    """Return the prompt of a question."""
    return template.replace("{}", question.strip())


def _with_a_place(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError(f"template needs {{}} once, for the question: got {template!r}")
    return template


Words = Annotated[str, AfterValidator(filled)]
"""A prompt."""
Template = Annotated[str, AfterValidator(_with_a_place)]
"""The prompt of every question, which {} stands for."""
