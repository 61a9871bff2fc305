"""One checkpoint behind several models: what each of them says alone, for one look at a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Image, Kind, ModelSpec

Checkpoint = Callable[[str], Path]
LICENCES = ["unknown", "opt-175b-licence"]
OPTIONS: dict[Kind, dict[str, Any]] = {
    "caption": {"max_new_tokens": 5, "num_beams": 2},
    "answer": {"max_new_tokens": 4, "num_beams": 1, "questions": ("a dog?", "red?")},
    "caption_crops": {"max_new_tokens": 5, "num_beams": 1},
}


def specs(folder: Path, **more: Any) -> list[ModelSpec]:
    return [
        catalog.spec(str(folder), kind, {"device": "cpu", **own, **more}, "auto", LICENCES)
        for kind, own in OPTIONS.items()
    ]


@pytest.fixture(scope="module")
def views(pictures: Callable[..., list[Image]]) -> list[Image]:
    return pictures(3)


@pytest.mark.parametrize("name", ["blip2-opt", "blip2-t5"])
def test_a_picture_is_seen_once_to_be_captioned_and_asked_about(
    name: str, checkpoint: Checkpoint, views: list[Image]
) -> None:
    chosen = specs(checkpoint(name))[:2]
    together: list[Any] = catalog.build_all(chosen, num_threads=1)
    assert together[0].author is together[1].author
    passes = []
    tower = together[0].author.writer.language.model.vision_model
    tower.register_forward_hook(lambda *given: passes.append(len(given[2].last_hidden_state)))
    rows = pa.table({"width": [32] * len(views)})
    found = [model.predict(views, rows) for model in together]
    assert passes == [len(views)]
    assert found == [catalog.build(spec).predict(views, rows) for spec in chosen]
    together[1].predict(views[:2], rows.slice(0, 2))
    assert passes == [len(views), 2]


def test_an_array_that_is_filled_anew_is_captioned_anew(
    checkpoint: Checkpoint, views: list[Image]
) -> None:
    (chosen, *_) = specs(checkpoint("blip2-opt"))
    model: Any = catalog.build(chosen)
    row = pa.table({"width": [32]})
    camera = views[0].copy()
    found = []
    for view in views:
        camera[:] = view
        found += model.predict([camera], row).to_pylist()
    fresh: Any = catalog.build(chosen)
    assert found == [fresh.predict([view.copy()], row)[0].as_py() for view in views]
    assert len({*found}) > 1


def test_other_weights_places_or_precisions_are_not_shared(checkpoint: Checkpoint) -> None:
    caption, answer, crops = specs(checkpoint("blip2-opt"))
    assert catalog.network(caption) == catalog.network(answer) == catalog.network(crops)
    others = [*specs(checkpoint("blip2-opt"), dtype="bfloat16"), *specs(checkpoint("blip2-t5"))]
    assert len({catalog.network(spec) for spec in (caption, *others)}) == 3
    assert catalog.network(catalog.spec("ssd-mobilenet-v2-coco")) is None


def test_a_checkpoint_is_of_every_kind_that_its_weights_can_do(checkpoint: Checkpoint) -> None:
    card = catalog.resolve(str(checkpoint("blip2-opt")))
    assert catalog.kinds(card) == {
        "caption": "captioner",
        "answer": "answerer",
        "caption_crops": "crop-captioner",
    }
    answers = card.model_copy(update={"kind": "answer", "family": "answerer"})
    assert list(catalog.kinds(answers)) == ["answer", "caption", "caption_crops"]
    with pytest.raises(UserError, match=r"kind answer, but .* of kind caption or caption_crops"):
        catalog.resolve(str(checkpoint("blip")), "answer")
