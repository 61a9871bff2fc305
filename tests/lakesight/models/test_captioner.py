"""Captions, against transformers' own processors and `generate`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import transformers
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.models.captioner import Captioner
from lakesight.models.guard import see
from lakesight.schemas import CAPTIONS

hf: Any = transformers  # typed only in part
Checkpoint = Callable[[str], Path]
Load = Callable[..., Any]

PROMPTS = [None, "a red", "what is this?"]
every = pytest.mark.parametrize("name", ["blip", "blip2-opt", "blip2-t5"])
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beam": {"num_beams": 4},
    "short": {"num_beams": 3, "length_penalty": -1.0},
}
DRAW: dict[str, Any] = {"do_sample": True, "top_p": 0.9}


@pytest.fixture(scope="module")
def views(pictures: Callable[..., list[Image]]) -> list[Image]:
    return pictures(len(PROMPTS))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pa.table({"prompt": pa.array(PROMPTS, pa.string())})


class Own:
    """BLIP or BLIP-2 by transformers alone: one picture, one prompt, one call."""

    def __init__(self, name: str, folder: Path) -> None:
        image_processor = hf.BlipImageProcessorPil.from_pretrained(folder)
        self.tokenizer = hf.AutoTokenizer.from_pretrained(folder)
        self.name = name
        if name == "blip":
            self.model = hf.BlipForConditionalGeneration.from_pretrained(folder).eval()
            self.processor = hf.BlipProcessor(image_processor, self.tokenizer)
        else:
            self.model = hf.Blip2ForConditionalGeneration.from_pretrained(folder).eval()
            self.processor = hf.Blip2Processor(
                image_processor, self.tokenizer, num_query_tokens=self.model.config.num_query_tokens
            )

    @torch.inference_mode()
    def captions(
        self, view: Image, prompt: str | None, **settings: Any
    ) -> tuple[list[str], list[float]]:
        """Return the new text of every returned sequence, and beam search's own scores."""
        inputs = self.processor(images=view, text=prompt, return_tensors="pt")
        out = self.model.generate(
            **inputs, **settings, return_dict_in_generate=True, output_scores=True
        )
        new = out.sequences[:, self.given(inputs) :]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        scores = out.sequences_scores.tolist() if settings["num_beams"] > 1 else []
        return [text.strip() for text in texts], scores

    def given(self, inputs: Any) -> int:
        """Return how many tokens of the result went in: not BLIP's [SEP], nothing of T5's."""
        if self.name == "blip2-t5":
            return 0
        if "input_ids" in inputs:
            return int(inputs["input_ids"].shape[1]) - (1 if self.name == "blip" else 0)
        return 1 if self.name == "blip" else int(self.model.config.num_query_tokens) + 1


@every
@pytest.mark.parametrize("search", SEARCHES)
def test_captions_are_those_of_transformers(
    name: str, search: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    settings = {"max_new_tokens": 8, **SEARCHES[search]}
    found = load(checkpoint(name), **settings).predict(views, rows)
    own = Own(name, checkpoint(name))
    pairs = zip(views, PROMPTS, strict=True)
    assert found.to_pylist() == [own.captions(*pair, **settings)[0][0] for pair in pairs]
    assert found.type == pa.string()


@every
def test_the_n_best_and_their_scores_are_those_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 8, "num_beams": 4, "length_penalty": 0.5}
    model = load(checkpoint(name), num_captions=3, **settings)
    found = model.predict(views, rows)
    assert found.type == CAPTIONS
    assert model.output == pa.field("captions", CAPTIONS)
    own = Own(name, checkpoint(name))
    for mine, view, prompt in zip(found.to_pylist(), views, PROMPTS, strict=True):
        texts, scores = own.captions(view, prompt, num_return_sequences=3, **settings)
        assert [caption["text"] for caption in mine] == texts
        assert [caption["score"] for caption in mine] == pytest.approx(scores, rel=1e-3, abs=1e-4)
        assert {caption["prompt"] for caption in mine} == {prompt}


@every
@pytest.mark.parametrize("settings", [*SEARCHES.values(), DRAW], ids=[*SEARCHES, "draw"])
def test_a_caption_does_not_depend_on_its_neighbours(
    name: str,
    settings: dict[str, Any],
    checkpoint: Checkpoint,
    load: Load,
    views: list[Image],
    rows: pa.Table,
) -> None:
    model = load(checkpoint(name), max_new_tokens=8, **settings)
    alone = [
        model.predict(views[number : number + 1], rows.slice(number, 1)).to_pylist()[0]
        for number in range(len(views))
    ]
    assert model.predict(views, rows).to_pylist() == alone
    assert model.predict(views[::-1], rows.take([2, 1, 0])).to_pylist() == alone[::-1]


@every
def test_a_draw_depends_on_its_seed(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder, settings = checkpoint(name), {"max_new_tokens": 8, "do_sample": True, "top_p": 1.0}
    first, again, other = (
        load(folder, seed=seed, **settings).predict(views, rows) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@every
def test_the_smallest_nucleus_is_the_greedy_search(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    greedy = load(checkpoint(name), max_new_tokens=8, num_beams=1)
    drawn = load(checkpoint(name), max_new_tokens=8, do_sample=True, top_p=1e-6)
    assert drawn.predict(views, rows) == greedy.predict(views, rows)


def test_several_draws_differ_and_come_best_first(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    model = load(checkpoint("blip2-opt"), max_new_tokens=8, num_captions=4, do_sample=True)
    for captions in model.predict(views, rows).to_pylist():
        scores = [caption["score"] for caption in captions]
        assert len({caption["text"] for caption in captions}) > 1
        assert scores == sorted(scores, reverse=True)


def test_a_draws_score_is_the_mean_log_probability_that_the_model_gives_it(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    folder = checkpoint("blip2-opt")
    model = load(folder, max_new_tokens=5, num_captions=4, do_sample=True, temperature=0.8)
    rows = pa.table({"prompt": ["a red"]})
    (captions,) = model.predict(views[:1], rows).to_pylist()
    own = Own("blip2-opt", folder)
    checked = 0
    for caption in captions:
        tokens = own.tokenizer(caption["text"], add_special_tokens=False)["input_ids"]
        if len(tokens) < 5:  # it drew a special token, which the text does not show
            continue
        inputs = own.processor(images=views[0], text="a red", return_tensors="pt")
        ids = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
        with torch.inference_mode():
            logits = own.model(pixel_values=inputs["pixel_values"], input_ids=ids).logits
        chosen = logits[0, -6:-1].log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])
        assert caption["score"] == pytest.approx(chosen.mean().item(), abs=1e-4)
        checked += 1
    assert checked > 0


def test_a_rows_prompt_goes_before_the_options(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint("blip2-opt"), prompt="a red", max_new_tokens=8, num_captions=2)
    rows = pa.table({"prompt": ["what is this?", None, "a red"]})
    without = pa.table({"width": [1, 2, 3]})
    own, default = (
        [[(one["text"], one["prompt"]) for one in captions] for captions in found.to_pylist()]
        for found in (
            model.predict(views, rows),
            model.predict(views, without),
        )
    )
    assert [captions[0][1] for captions in own] == ["what is this?", "a red", "a red"]
    assert default[1:] == own[1:]
    assert default[0] != own[0]


@every
def test_no_pictures_keep_the_type(name: str, checkpoint: Checkpoint, load: Load) -> None:
    model = load(checkpoint(name), num_captions=2)
    assert model.predict([], pa.table({"prompt": pa.array([], pa.string())})).type == CAPTIONS


@every
def test_a_prompt_beyond_the_context_is_a_users_mistake_as_an_option(
    name: str, checkpoint: Checkpoint, load: Load
) -> None:
    with pytest.raises(UserError, match="expected at most"):
        load(checkpoint(name), prompt="red bus " * 50)


def test_an_empty_prompt_is_no_option() -> None:
    with pytest.raises(ValidationError, match="the prompt is empty"):
        Captioner.Options(prompt="  ")


@every
def test_a_prompt_that_cannot_be_used_costs_its_own_row_only(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint(name), max_new_tokens=8)
    rows = pa.table({"prompt": ["a red", "", "red bus " * 50]})
    seen = see(model, views, rows, max_batch=8)
    assert sorted(seen.errors) == [1, 2]
    wanted = model.predict(views[:1], rows.slice(0, 1)).to_pylist()
    assert seen.values.to_pylist() == [*wanted, None, None]


def test_a_prompt_cannot_stand_for_the_picture(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint("blip2-opt"))
    with pytest.raises(ValueError, match="the token that stands for the picture"):
        model.predict(views[:1], pa.table({"prompt": ["a <image> red"]}))


@every
def test_half_precision_writes_what_is_as_likely(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    """Its best caption is as likely as that in float32; with the 11 bits of float16 it is the same.

    Tokens drawn at random have a mean log-probability of about -4.5 in these vocabularies.
    """
    exact, half, brain = (
        [captions[0] for captions in model.predict(views, rows).to_pylist()]
        for model in (
            load(checkpoint(name), max_new_tokens=8, num_beams=4, num_captions=2, dtype=dtype)
            for dtype in ("float32", "float16", "bfloat16")
        )
    )
    assert [one["text"] for one in half] == [one["text"] for one in exact]
    wanted = [one["score"] for one in exact]
    assert [one["score"] for one in half] == pytest.approx(wanted, abs=0.02)
    assert [one["score"] for one in brain] == pytest.approx(wanted, abs=0.15)


OWN_DEFAULTS = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1}


@every
def test_nothing_is_left_to_the_checkpoints_own_defaults(
    name: str,
    checkpoint: Checkpoint,
    load: Load,
    views: list[Image],
    rows: pa.Table,
    tmp_path: Path,
) -> None:
    folder = tmp_path / name
    shutil.copytree(checkpoint(name), folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= OWN_DEFAULTS
    (folder / "config.json").write_text(json.dumps(config))
    own = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(own | OWN_DEFAULTS))
    for settings in (*SEARCHES.values(), DRAW):
        ours, theirs = (
            load(one, max_new_tokens=8, **settings).predict(views, rows)
            for one in (checkpoint(name), folder)
        )
        assert theirs == ours
    greedy = {"max_new_tokens": 8, "num_beams": 1}
    alone = Own(name, checkpoint(name))  # which they would make write something else
    told = [alone.captions(views[0], "a red", **greedy, **more) for more in ({}, OWN_DEFAULTS)]
    assert told[0] != told[1]


@pytest.mark.parametrize("name", ["blip", "blip2-opt"])
def test_a_prompt_as_long_as_the_context_allows_is_used(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint(name), max_new_tokens=8, num_beams=1)
    context = {"blip": 40 - 8 - 1, "blip2-opt": 64 - 8 - 6 - 1}[name]  # tiny.py: context, queries
    rows = pa.table({"prompt": ["b" * context]})
    assert len(model.predict(views[:1], rows)) == 1
    with pytest.raises(ValueError, match="expected at most"):
        model.predict(views[:1], pa.table({"prompt": ["b" * (context + 1)]}))


@pytest.mark.parametrize("name", ["blip", "blip2-opt"])
def test_more_tokens_than_the_context_are_refused(
    name: str, checkpoint: Checkpoint, load: Load
) -> None:
    with pytest.raises(UserError, match="max_new_tokens=64 does not fit"):
        load(checkpoint(name), max_new_tokens=64)


def test_more_captions_than_beams_are_refused() -> None:
    with pytest.raises(ValidationError, match="num_captions=4 needs as many beams"):
        Captioner.Options(num_captions=4, num_beams=3)
    assert Captioner.Options(num_captions=4, num_beams=1, do_sample=True).num_captions == 4


def test_a_checkpoint_without_image_token_says_so(
    checkpoint: Checkpoint, load: Load, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(checkpoint("blip2-opt"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_token_index": None}))
    with pytest.raises(UserError, match="no image_token_index"):
        load(folder)
