"""BLIP-2's stages as trainings: from pictures with texts to a model folder."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from lakesight.errors import UserError
from lakesight.evaluation import Evaluation, evaluate, to_judge
from lakesight.evaluation.result import Result
from lakesight.evaluation.texts import Texts
from lakesight.files import write_whole
from lakesight.models import catalog, licences
from lakesight.models.artefact import sha256_of
from lakesight.models.base import FolderSource, Kind, ModelCard
from lakesight.models.preprocessor import Preprocessor, parse_preprocessor
from lakesight.models.pretrained import Pixels
from lakesight.models.writers import Blip2Writer
from lakesight.models.yolo.folder import CARD, write_card
from lakesight.training import optimizing
from lakesight.training.binding import model_name
from lakesight.training.blip2.beginning import Start, start
from lakesight.training.blip2.job import FirstStageJob, SecondStageJob
from lakesight.training.blip2.lora import merge_lora
from lakesight.training.blip2.recipe import FirstStageRecipe, Words
from lakesight.training.blip2.second_beginning import SecondStart, second_start
from lakesight.training.blip2.texts import Told, Wanted, open_texts
from lakesight.training.blip2.views import Look
from lakesight.training.blip2.writing import PARTS, PartTexts, SecondStageRecipe
from lakesight.training.callbacks import CsvLog, Curves
from lakesight.training.loop import BEST, SETTINGS, STATE, Callback, Progress, Recipe, Trainer
from lakesight.training.yolo.datasets import Split


class Trial(NamedTuple):
    """How a model is judged: as which kind, with what options, by what."""

    kind: Kind
    options: dict[str, Any]
    texts: Texts


StageJob = TypeVar("StageJob", FirstStageJob, SecondStageJob)
Begun = TypeVar("Begun", Start, SecondStart)


class Tokens:
    """A text to its tokens, cut to so many; picklable, for readers of their own."""

    def __init__(self, tokenizer: Any, most: int) -> None:
        self.tokenizer, self.most = tokenizer, most

    def __call__(self, text: str) -> list[int]:
        """Return the tokens, [CLS] first and [SEP] last."""
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=self.most)["input_ids"]
        return ids


class StageTraining(ABC, Generic[StageJob, Begun]):
    """What both stages share; see `lakesight.training.families.Training`."""

    kind: Kind
    family: str
    title: str
    """What a card calls the stage."""
    num_examples: int

    def __init__(self, job: StageJob) -> None:
        if job.val is None and Path(job.data).suffix == ".json":
            raise UserError(f"{job.data} has no parts: name others to validate on with --val")
        self.job: StageJob = job

    @abstractmethod
    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""

    @abstractmethod
    def begin(self) -> Begun:
        """Return what the training begins with, always the same."""

    @abstractmethod
    def recipe(self, begun: Begun, device: torch.device | None = None) -> Recipe:
        """Return the stage's part of the training."""

    @abstractmethod
    def write(self, begun: Begun, folder: Path) -> None:
        """Write the weights as a checkpoint of transformers."""

    @abstractmethod
    def trials(self) -> Iterator[Trial]:
        """Yield how what was written is judged."""

    def followers(self) -> list[Callback]:
        """Return a table of the epochs, and its curves."""
        return [CsvLog(), Curves()]

    def fit(
        self,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        device: torch.device | None = None,
    ) -> Progress:
        """Train, going on where the folder's checkpoint is."""
        state = folder / STATE
        state.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(self.recipe(self.begin(), device), self.job, state, callbacks)
        trainer.resume()
        return trainer.fit()

    def finish(self, folder: Path, shown: str | None = None) -> tuple[ModelCard, Evaluation]:
        """Write the best weights as a checkpoint of transformers with a card, judged as written."""
        state = folder / STATE
        if not (state / BEST).is_file():
            raise UserError(
                f"{shown or folder} has no weights, though they are trained: the output must be a "
                "folder that all machines share, or an s3:// prefix"
            )
        begun = self.begin()
        best = torch.load(state / BEST, weights_only=True, map_location="cpu")
        optimizing.put(optimizing.learning(self.recipe(begun).network), best["network"])
        draft = state / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        self.write(begun, draft)
        begun.tokenizer.save_pretrained(draft)
        for name, content in begun.pixels.items():
            (draft / name).write_bytes(content)
        name = self.job.name or model_name(shown or str(folder.resolve()))
        card = self._card(begun, draft, name)
        write_card(draft, card)
        result = self._judged(card)
        write_whole(state / "evaluation.json", json.dumps(result.to_dict(), indent=2) + "\n")
        figures = {figure: round(value, 4) for figure, value in result.figures().items()}
        card = card.model_copy(update={"metrics": figures})
        write_card(draft, card)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == CARD):
            path.replace(folder / path.name)  # the card last: a folder with one is a whole model
        draft.rmdir()
        return card, result

    def _judged(self, card: ModelCard) -> Evaluation:
        """Judge what was written, as `lakesight evaluate` will."""
        stated = (card.licences.weights, card.licences.language_model or "")
        own = [part for one in stated for part in licences.parts(one)]  # accepted at the start
        assert isinstance(card.source, FolderSource)
        results: dict[str, Result] = {}
        for kind, options, texts in self.trials():
            spec = catalog.spec(card.source.uri, kind, options, licences_accepted=own)
            results |= evaluate(catalog.build(to_judge(spec)), texts).results
        return Evaluation(results)

    def _card(self, begun: Begun, folder: Path, name: str) -> ModelCard:
        job = self.job
        return ModelCard(
            name=name,
            kind=self.kind,
            family=self.family,
            source=FolderSource(uri=str(folder)),
            sha256={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
            licences=begun.licences,
            view=preprocessor_of(begun.pixels).view,
            provenance=f"{self.title}, trained by lakesight train on {self.num_examples:,} "
            f"pictures of {job.data}, {begun.note}, seed {job.seed}; {STATE}/{SETTINGS} has every "
            f"setting. Its metrics are of the pictures of {job.validation} that chose the best "
            "epoch.",
        )

    def opened(self, split: Split, wanted: Wanted, *, regions: bool = False) -> list[Told]:
        """Open the texts to train on, or to validate on."""
        job = self.job
        data, images = job.data, job.images
        if split == "val":
            data, images = job.validation, job.val_images or job.images
        return open_texts(data, split, wanted, images, job.caption_column, regions=regions)


class FirstStageTraining(StageTraining[FirstStageJob, Start]):
    """Captioned pictures to vectors of pictures and texts, and to whether they match."""

    Job = FirstStageJob
    kind, family, title = "embed", "image-text", "BLIP-2's first stage"

    def __init__(self, job: FirstStageJob) -> None:
        super().__init__(job)
        regions = bool(job.loss.regions)
        self.train = self.opened("train", "captions", regions=regions)
        self.val = self.opened("val", "captions", regions=regions)
        self.num_examples = len(self.train)

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        count = sum(len(one.captions) for one in self.train)
        return (
            f"retrieve: {len(self.train):,} pictures with {count:,} captions to train on, "
            f"{len(self.val):,} to validate; from {self.job.weights or 'nothing'}"
        )

    def begin(self) -> Start:
        """Return the network, with a tokenizer of the captions where it starts from nothing."""
        return start(self.job, (text for one in self.train for text in one.captions))

    def recipe(self, begun: Start, device: torch.device | None = None) -> FirstStageRecipe:
        """Return losses of pairs, and Recall@K."""
        tokenizer = begun.tokenizer
        words = Words(
            Tokens(tokenizer, self.job.max_tokens), tokenizer.pad_token_id, tokenizer.bos_token_id
        )
        look = look_of(begun.pixels, device)
        return FirstStageRecipe(begun.model, words, look, (self.train, self.val), self.job, device)

    def write(self, begun: Start, folder: Path) -> None:
        """Write `Blip2ForImageTextRetrieval`, and beside it the head that writes."""
        (begun.model.half() if self.job.half else begun.model).save(folder)

    def trials(self) -> Iterator[Trial]:
        """Yield a search among the pictures to validate on."""
        yield Trial("embed", {}, Texts(self.val, "retrieve"))


class SecondStageTraining(StageTraining[SecondStageJob, SecondStart]):
    """Pictures with captions or questions to a model that writes about pictures."""

    Job = SecondStageJob
    kind, family, title = "caption", "captioner", "BLIP-2's second stage"

    def __init__(self, job: SecondStageJob) -> None:
        super().__init__(job)
        self.train, self.val = self._texts("train"), self._texts("val")
        self.num_examples = max(map(len, self.train))

    def _texts(self, split: Split) -> PartTexts:
        return PartTexts(
            *(self.opened(split, name) if getattr(self.job, name).share else [] for name in PARTS)
        )

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        counts = ", ".join(
            f"{len(told):,} pictures with {name}"
            for name, told in zip(PARTS, self.train, strict=True)
            if told
        )
        return (
            f"write: {counts} to train on, {max(map(len, self.val)):,} to validate; from "
            f"{self.job.weights or 'nothing'}"
        )

    def begin(self) -> SecondStart:
        """Return the network, with a tokenizer of the texts where its language model is new."""
        captioned, questioned = self.train
        questions = self.job.questions.template.replace("{}", " ")
        texts = [text for one in captioned for text in one.captions]
        for question in (question for one in questioned for question in one.questions):
            texts += [question.text, *question.answers, questions]
        return second_start(self.job, [*texts, self.job.captions.prompt or ""])

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
        """Yield captions and answers, with the prompts that were learned."""
        job, (captioned, questioned) = self.job, self.val
        if captioned:
            options = {"prompt": job.captions.prompt, "max_new_tokens": job.max_tokens}
            yield Trial("caption", options, Texts(captioned, "caption"))
        if questioned:
            asking = {"template": job.questions.template}
            yield Trial("answer", asking, Texts(questioned, "answer"))


def preprocessor_of(pixels: Mapping[str, bytes]) -> Preprocessor:
    """Return what a picture goes through, of a checkpoint's files."""
    return parse_preprocessor("the checkpoint", dict(pixels), "image-text")


def look_of(pixels: Mapping[str, bytes], device: torch.device | None = None) -> Look:
    """Return how a vision tower sees, of a checkpoint's files."""
    preprocessor = preprocessor_of(pixels)
    place = device or torch.device("cpu")
    return Look(preprocessor.view, Pixels(preprocessor, place, torch.float32))
