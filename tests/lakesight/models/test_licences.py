"""What is allowed without asking, and how consent is given."""

import pytest

from lakesight.errors import UserError
from lakesight.models.base import FolderSource, Licences, ModelCard
from lakesight.models.licences import VARIABLE, check


def card(weights: str = "MIT", data: str = "CC-BY-4.0", language: str | None = None) -> ModelCard:
    return ModelCard(
        name="mine",
        kind="caption",
        family="captioner",
        source=FolderSource(uri="/nowhere"),
        sha256={},
        licences=Licences(weights=weights, data=data, language_model=language),
        provenance="written by a test",
    )


@pytest.fixture(autouse=True)
def no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(
    "allowed",
    [
        card("Apache-2.0"),
        card("BSD-3-Clause AND MIT"),
        card(language="Apache-2.0"),
        card(data="unknown"),
        card(data="LicenseRef-ImageNet-research-terms"),
    ],
)
def test_free_licences_need_no_consent(allowed: ModelCard) -> None:
    assert check(allowed) == ()


@pytest.mark.parametrize(
    ("refused", "what", "licence"),
    [
        (card("AGPL-3.0-only"), "weights", "AGPL-3.0-only"),
        (card("CC-BY-NC-4.0"), "weights", "CC-BY-NC-4.0"),
        (card("unknown"), "weights", "unknown"),
        (card("apache-2.0"), "weights", "apache-2.0"),
        (card("MIT AND GPL-3.0-only"), "weights", "GPL-3.0-only"),
        (card("MIT OR GPL-3.0-only"), "weights", "MIT OR GPL-3.0-only"),
        (card(language="opt-175b-licence"), "language model", "opt-175b-licence"),
        (card(data="withdrawn"), "training data", "withdrawn"),
    ],
)
def test_others_are_refused_with_what_to_do(
    refused: ModelCard, what: str, licence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError) as raised:
        check(refused)
    message = str(raised.value)
    assert f"the {what} of mine" in message
    assert f"--allow-licence '{licence}'" in message
    assert check(refused, [licence]) == (licence,)
    monkeypatch.setenv(VARIABLE, f"something-else, {licence}")
    assert check(refused) == (licence,)


def test_consent_to_one_thing_is_none_to_another() -> None:
    both = card("AGPL-3.0-only", language="opt-175b-licence")
    with pytest.raises(UserError, match="language model"):
        check(both, ["AGPL-3.0-only"])
    assert check(both, ["AGPL-3.0-only", "opt-175b-licence", "MIT"]) == (
        "AGPL-3.0-only",
        "opt-175b-licence",
    )
