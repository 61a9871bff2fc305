"""BLIP-2's stages as trainings: see `lakesight.training.families.Training`."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lakesight.errors import UserError
from lakesight.evaluation.texts import Texts
from lakesight.models.image_text import MATCHES
from lakesight.models.pretrained import Pixels
from lakesight.models.writers import Blip2Writer
from lakesight.scenes.known import holds_scenes
from lakesight.training.blip2.beginning import Start, preprocessor_of, start
from lakesight.training.blip2.job import FirstStageJob, SecondStageJob
from lakesight.training.blip2.lora import merge_lora
from lakesight.training.blip2.origin import first_origin, second_origin
from lakesight.training.blip2.parts import ASKED, STEPS, PartTexts, all_told, joined
from lakesight.training.blip2.places import Places, places_of
from lakesight.training.blip2.recipe import FirstStageRecipe, Words
from lakesight.training.blip2.second_beginning import SecondStart, second_start
from lakesight.training.blip2.settings import OF_REGIONS, PartName
from lakesight.training.blip2.stage import Half, StageTraining, Trial
from lakesight.training.blip2.texts import Question, Wanted
from lakesight.training.blip2.views import Look
from lakesight.training.blip2.writing import SecondStageRecipe

MARKS = " ".join([*map(str, range(STEPS)), ","])
"""What a layout says places by, and sets regions apart with."""
WANTED: Mapping[PartName, Wanted] = {
    "captions": "captions",
    "descriptions": "captions",
    "layouts": "regions",
    "questions": "questions",
    "relations": "regions",
}
"""What is opened for each kind of text."""


class Tokens:
    """A text to its tokens, cut to so many; picklable, for readers of their own."""

    def __init__(self, tokenizer: Any, most: int) -> None:
        self.tokenizer, self.most = tokenizer, most

    def __call__(self, text: str) -> list[int]:
        """Return the tokens, [CLS] first and [SEP] last."""
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=self.most)["input_ids"]
        return ids


class FirstStageTraining(StageTraining[FirstStageJob, Start]):
    """Captioned pictures to vectors of pictures and texts, and to whether they match."""

    Job = FirstStageJob
    kind, family, title = "embed", "image-text", "BLIP-2's first stage"

    def __init__(self, job: FirstStageJob) -> None:
        super().__init__(job)
        self.places, regions = places_of(job), bool(job.loss.regions)
        column = job.caption_column
        self.train = self.opened(self.places, "train", "captions", column, regions=regions)
        self.val = self.opened(self.places, "val", "captions", column, regions=regions)
        self.num_examples = len(self.train)
        if regions:
            self.check_described(self.train, self.val)
        self.origin = first_origin(job)

    def sources(self) -> Iterator[tuple[Places, int]]:
        """Yield where the captions are."""
        yield self.places, len(self.train)

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        count = sum(len(one.captions) for one in self.train)
        return (
            f"retrieve: {len(self.train):,} pictures with {count:,} captions to train on, "
            f"{len(self.val):,} to validate; from {self.job.weights or 'nothing'}"
            + (f", with the vision tower of {self.job.tower}" if self.job.tower else "")
        )

    def begin(self) -> Start:
        """Return the network, with a tokenizer of the captions where it starts from nothing."""
        texts = (text for one in self.train for text in one.captions)
        return start(self.job, self.origin, texts)

    def recipe(self, begun: Start, device: torch.device | None = None) -> FirstStageRecipe:
        """Return losses of pairs, and Recall@K."""
        tokenizer = begun.tokenizer
        tokens = Tokens(tokenizer, self.job.max_tokens)
        words = Words(tokens, tokenizer.pad_token_id, start_id_of(tokenizer))
        look = look_of(begun.pixels, device)
        return FirstStageRecipe(begun.model, words, look, (self.train, self.val), self.job, device)

    def write(self, begun: Start, folder: Path) -> None:
        """Write `Blip2ForImageTextRetrieval`, and beside it the head that writes."""
        (begun.model.half() if self.job.half else begun.model).save(folder)

    def contract(self) -> dict[str, Any]:
        """Return that it does not match, unless it or what it began with was trained to."""
        weights = self.origin.weights
        began = weights.card.contract.get(MATCHES, True) if weights else False
        return {} if self.job.loss.match or began else {MATCHES: False}

    def trials(self) -> Iterator[Trial]:
        """Yield a search among the pictures to validate on."""
        yield Trial("embed", Texts(self.val, "retrieve"))


class SecondStageTraining(StageTraining[SecondStageJob, SecondStart]):
    """Pictures with captions, layouts or questions to a model that writes about pictures."""

    Job = SecondStageJob
    kind, family, title = "caption", "captioner", "BLIP-2's second stage"

    def __init__(self, job: SecondStageJob) -> None:
        super().__init__(job)
        self.places = {name: places_of(job, part, name) for name, part in job.parts.items()}
        self._check_descriptions()
        self.train, self.val = self._texts("train"), self._texts("val")
        self.num_examples = max(map(len, self.train.values()))
        if job.regions.weight:
            self.check_described(*map(all_told, (self.train, self.val)))
        self.origin = second_origin(job)

    def _check_descriptions(self) -> None:
        """Raise UserError where captions and descriptions are the same texts."""
        captions, descriptions = self.places.get("captions"), self.places.get("descriptions")
        if captions is None or descriptions is None:
            return
        data = Path(descriptions.train.data)
        if Path(captions.train.data).absolute() != data.absolute():
            return
        if not holds_scenes(data):
            raise UserError(
                f"{data} has captions of one kind: name others with --descriptions.data, or leave "
                "--descriptions.share at 0"
            )
        if self.job.caption_column != "captions":
            raise UserError(
                "scenes' descriptions are learned as captions and as descriptions: leave "
                "--caption-column or --descriptions.share as it is"
            )

    def _texts(self, split: Half) -> PartTexts:
        opened, described = {}, set()
        for name, places in self.places.items():
            column = "description" if name == "descriptions" else self.job.caption_column
            # once for each place: what is opened for its regions leaves out pictures without any
            regions = bool(self.job.regions.weight) and places not in described
            opened[name] = self.opened(places, split, WANTED[name], column, regions=regions)
            if WANTED[name] != "regions":
                described.add(places)
        texts = joined(opened)
        if not all(texts.values()):
            data = self.places["relations"].train.data
            raise UserError(
                f"{data}: no picture has two regions of phrases of their own: leave "
                "--relations.share at 0"
            )
        return texts

    def sources(self) -> Iterator[tuple[Places, int]]:
        """Yield where each kind of text is."""
        for name, places in self.places.items():
            yield places, len(self.train[name])

    def judged_on(self) -> Iterator[Places]:
        """Yield where the captions of the card's figures are, and the questions."""
        yield from (places for name, places in self.places.items() if name in self._judged_parts())

    def _judged_parts(self) -> list[PartName]:
        return [name for name in self.places if name in (self.job.unasked, "questions")]

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        counts = ", ".join(
            f"{len(every):,} pictures with {name}" for name, every in self.train.items()
        )
        return (
            f"write: {counts} to train on, {max(map(len, self.val.values())):,} to validate; from "
            f"{self.job.weights or 'nothing'}"
        )

    def begin(self) -> SecondStart:
        """Return the network, with a tokenizer of the texts where its language model is new."""
        return second_start(self.job, self.origin, self._words())

    def _words(self) -> Iterator[str]:
        """Yield what is to be read or written, as words for a tokenizer."""
        template = self.job.questions.template.replace("{}", " ")
        for name, one in ((name, one) for name, every in self.train.items() for one in every):
            for said in one.said(name)[: 1 if name in OF_REGIONS else None]:
                if isinstance(said, str):
                    yield said
                elif isinstance(said, Question):
                    yield from (said.text, *said.answers, template)
                else:
                    yield from (f"{region.phrase} {MARKS}" for region in said)
        if "relations" in self.job.parts:
            yield f"{ASKED} left right above below and here"
        yield from (prompt for prompt in self.job.prompts.values() if prompt)

    def recipe(self, begun: SecondStart, device: torch.device | None = None) -> SecondStageRecipe:
        """Return the losses of what is written, and how it compares."""
        if device:
            begun.model.to(device)
        writer = Blip2Writer(begun.model, begun.tokenizer, self.job.name or "the model")
        look = look_of(begun.pixels, device)
        return SecondStageRecipe(writer, look, (self.train, self.val), self.job, device)

    def write(self, begun: SecondStart, folder: Path) -> None:
        """Write `Blip2ForConditionalGeneration`."""
        if self.job.lora:
            merge_lora(begun.model.language_model)
        (begun.model.half() if self.job.half else begun.model).save_pretrained(folder)

    def trials(self) -> Iterator[Trial]:
        """Yield what is written unasked, and answers."""
        for name in self._judged_parts():
            if name == "questions":
                asked = [replace(one.told, questions=one.questions) for one in self.val[name]]
                yield Trial("answer", Texts(asked, "answer"))
            else:
                written = ((one.told, getattr(one, name)) for one in self.val[name])
                told = [replace(told, captions=captions) for told, captions in written]
                yield Trial("caption", Texts(told, "caption"))

    def contract(self) -> dict[str, Any]:
        """Return the prompts that were learned, the default ones as options.

        Of what was not learned, the weights' own.
        """
        job, before = self.job, self.origin.weights.card.contract
        options = dict(before.get("options", {}))
        if job.unasked:
            prompt = job.prompts[job.unasked]
            writing = {"prompt": prompt, "max_new_tokens": job.max_tokens}
            options |= {"caption": writing, "caption_crops": writing}
        if "questions" in job.parts:
            answering = {"template": job.questions.template, "max_new_tokens": job.max_tokens}
            options |= {"answer": answering}
        return {"options": options, "prompts": before.get("prompts", {}) | job.prompts}


def start_id_of(tokenizer: Any) -> int:
    """Return what a text begins with where it is written: [DEC], or [CLS] where none is known."""
    known: int | None = tokenizer.bos_token_id
    return int(tokenizer.cls_token_id) if known is None else known


def look_of(pixels: Mapping[str, bytes], device: torch.device | None = None) -> Look:
    """Return how a vision tower sees, of a checkpoint's files."""
    preprocessor = preprocessor_of(pixels)
    place = device or torch.device("cpu")
    return Look(preprocessor.view, Pixels(preprocessor, place, torch.float32))
