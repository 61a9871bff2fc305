"""BLIP-2's second stage as a part of a training: pictures and prompts in, what is written out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from lakesight.errors import UserError
from lakesight.metrics import AnswerEvaluator, CaptionEvaluator, LanguageResult
from lakesight.models.blip2.language import IGNORED, Blip2Language
from lakesight.models.prompts import question_prompt
from lakesight.models.writers import Blip2Writer, Prompt, searched
from lakesight.training import ranks
from lakesight.training.blip2.examples import Example, ExampleDataset, Text
from lakesight.training.blip2.lora import add_lora
from lakesight.training.blip2.mirrors import check_square
from lakesight.training.blip2.parts import (
    ASKED,
    PartTexts,
    Picture,
    all_told,
    layout,
    relation,
)
from lakesight.training.blip2.recipe import drawn_by, layer_scales, precision_of
from lakesight.training.blip2.regions import (
    Grid,
    Labeller,
    RegionLabels,
    WordF1,
    region_words,
    regions_loss,
)
from lakesight.training.blip2.settings import PartName, SecondStageSettings
from lakesight.training.blip2.texts import Question, Told
from lakesight.training.blip2.tower import quicken
from lakesight.training.blip2.views import Inputs, Look
from lakesight.training.loop import Batches, Losses
from lakesight.training.sampling import Shuffled

AT_ONCE = 32
"""Texts that are written together in validation."""


class Written(NamedTuple):
    """T texts of one part, apart from the others', whose lengths are others."""

    rows: Tensor
    """`(T,)`, which picture each is of."""
    ids: Tensor
    """Prompts `(T, S)`, padded on the left."""
    mask: Tensor
    answers: Tensor
    """`(T, A)`, padded with `IGNORED`."""


class SecondStage(nn.Module):
    """The network with its losses in one forward pass, as what shares gradients wants it."""

    def __init__(
        self, language: Blip2Language, settings: SecondStageSettings, num_words: int
    ) -> None:
        """Take the number of words that patches learn."""
        super().__init__()
        self.language, self.settings = language, settings
        config = language.model.config.vision_config
        self.labeller = Labeller(config, num_words) if num_words else None

    def forward(
        self, pictures: Tensor, written: Mapping[PartName, Written], regions: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss of each part, as a share of the mean over all tokens of all processes.

        And that of regions `(B, N, 2 V)`, where patches learn their words.

        The mean over the processes, of losses and of gradients, is what one would compute of the
        whole batch. Pictures are pixels `(B, 3, H, W)`, or what the vision tower saw of them,
        `(B, 1 + N, D)`.
        """
        seen = self.seen(pictures)
        prefix = self.language.prefix(seen)
        count = torch.stack([(part.answers != IGNORED).sum() for part in written.values()]).sum()
        share = ranks.share_of(count)
        found: dict[str, Tensor] = {name: prefix.new_zeros(()) for name in self.settings.parts}
        for name, texts in written.items():
            losses = self.language.token_losses(prefix, *texts)
            weight = self.settings.parts[name].weight
            found[name] = weight * share * losses.sum() / count
        if self.labeller is not None:
            asked = self.settings.regions
            loss = regions_loss(self.labeller(seen), regions, asked.present)
            found["regions"] = asked.weight * loss
        return found

    def seen(self, pictures: Tensor) -> Tensor:
        """Map pictures to what the vision tower sees of them, `(B, 1 + N, D)`."""
        return pictures if pictures.ndim == 3 else self.language.see(pictures)


class SecondStageRecipe:
    """See `lakesight.training.loop.Recipe`."""

    def __init__(
        self,
        writer: Blip2Writer,
        look: Look,
        data: tuple[PartTexts, PartTexts],
        settings: SecondStageSettings,
        device: torch.device | None = None,
    ) -> None:
        """Take what to train on and what to validate on as `data`."""
        self.device = device or torch.device("cpu")
        self.writer, self.settings = writer, settings
        self.room = writer.room(settings.max_tokens)
        model = writer.language.model
        self._frozen = [
            part
            for part, is_frozen in (
                (model.vision_model, settings.freeze_vision),
                (model.language_model, settings.freeze_language),
            )
            if is_frozen
        ]
        for part in self._frozen:
            part.requires_grad_(False)
        if not settings.freeze_vision:
            quicken(model.vision_model, self.device)
        if settings.lora:
            add_lora(model.language_model, settings.lora)
            model.language_model.to(self.device)
        if settings.dropout is not None:
            for part in (model.qformer, model.language_model):
                set_dropout(part, settings.dropout)
        train, self.val = data
        told = all_told(train)
        self.labels = region_words(told) if settings.regions.weight else ()
        self.regions = RegionLabels(Grid.of(model.config.vision_config), self.labels)
        self.stage = SecondStage(writer.language, settings, len(self.labels)).to(self.device)
        self.network: nn.Module = self.stage
        self._check_prompts(data)
        told += all_told(self.val)
        self.inputs = Inputs(told, look, settings.keep, self._see)
        check_square(look.view, settings.mirrors)
        self.dataset = ExampleDataset(train, self.inputs, self.regions, settings)
        self.num_examples = len(self.dataset)

    def _check_prompts(self, data: Sequence[PartTexts]) -> None:
        """Raise UserError for a prompt that does not fit, before anything is learned."""
        questions = {
            question_prompt(self.settings.questions.template, said.text)
            for texts in data
            for one in texts.get("questions", ())
            for said in one.questions
        }
        related = {
            tuple(sorted((region.phrase for region in one.relations[0]), key=len)[-2:])
            for texts in data
            for one in texts.get("relations", ())
        }
        questions |= {
            question_prompt(self.settings.questions.template, ASKED.format(*phrases))
            for phrases in related
        }
        for text in [*sorted(questions), *self.settings.prompts.values()]:
            self._prompt(text)

    def batches(self, rank: int, num_ranks: int) -> tuple[Batches, Shuffled]:
        """Return one process' batches, and what to tell the epoch."""
        settings = self.settings
        self.inputs.look_ahead(settings.num_readers)
        sampler = Shuffled(self.num_examples, settings.seed, rank, num_ranks)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=settings.batch_size,
            sampler=sampler,
            num_workers=settings.num_readers,
            persistent_workers=settings.num_readers > 0,
            collate_fn=list,
            drop_last=len(sampler) >= settings.batch_size,
        )
        return loader, sampler

    def scales(self) -> Mapping[nn.Parameter, float]:
        """Return the layer decay of the vision tower."""
        return layer_scales(self.writer.language.model.vision_model, self.settings.layer_decay)

    def set_train(self) -> None:
        """Train; what is frozen stays in evaluation, without dropout."""
        self.network.train()
        for part in self._frozen:
            part.eval()

    def losses(self, model: nn.Module, batch: Sequence[Example], step: int) -> Losses:
        """Return the loss of each kind of text."""
        pictures = self.inputs.batch([one.picture for one in batch])
        texts = [(row, text) for row, one in enumerate(batch) for text in one.texts]
        written = {
            name: self._written_of(own)
            for name in self.settings.parts
            if (own := [(row, text) for row, text in texts if text.part == name])
        }
        regions = torch.from_numpy(np.stack([one.regions for one in batch])).to(self.device)
        with drawn_by(self.settings.seed, step, self.device), self._precision():
            found = model(pictures, written, regions)
        return Losses(found, len(batch))

    def _written_of(self, own: Sequence[tuple[int, Text]]) -> Written:
        """Return texts of one kind, which come with their pictures' rows."""
        rows, texts = zip(*own, strict=True)
        ids, mask = self.writer.padded([self._prompt(text.prompt) for text in texts])
        answers = [
            torch.tensor(self.writer.answer(text.answer)[: self.settings.max_tokens])
            for text in texts
        ]
        labels = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        return Written(torch.tensor(rows, device=self.device), ids, mask, labels.to(self.device))

    def _precision(self) -> AbstractContextManager[Any]:
        return precision_of(self.settings, self.device)

    @torch.no_grad()
    def _see(self, pixels: Tensor) -> Tensor:
        with self._precision():
            return self.writer.language.see(pixels)

    def _prompt(self, text: str | None) -> Prompt:
        try:
            return self.writer.prompt(text, self.room)
        except ValueError as error:
            raise UserError(f"{error} (which is max_tokens in a training)") from error

    def evaluate(self) -> Mapping[str, float]:
        """Judge the network as it is; its fitness is the mean over the kinds of text.

        Of VQA accuracy, and of CIDEr-D / 10.
        """
        results = self.judged()
        figures = {
            f"{name}/{figure}": value
            for name, result in results.items()
            for figure, value in result.figures().items()
        }
        main = [
            figures[accuracy]
            if (accuracy := f"{name}/accuracy") in figures
            else figures[f"{name}/cider_d"] / 10
            for name in results
        ]
        if self.labels:
            figures["regions_f1"] = self._regions_f1()
        return {**figures, "fitness": sum(main) / len(main)}

    @torch.inference_mode()
    def judged(self) -> dict[str, LanguageResult]:
        """Return the figures of what is written, greedily, about the pictures to validate on."""
        found: dict[str, LanguageResult] = {}
        for name, every in self.val.items():
            judged = every[: self.settings.judged]
            told = [one.told for one in judged]
            if name == "questions":
                found["answers"] = self._answers(told, [one.questions for one in judged])
            elif name == "relations":
                found[name] = self._answers(told, [self._relations(one) for one in judged])
            else:
                right = [self._right(name, one) for one in judged]
                found[name] = self._captions(told, self.settings.prompts[name], right)
        return found

    def _captions(
        self, told: Sequence[Told], prompt: str | None, right: Sequence[Sequence[str]]
    ) -> LanguageResult:
        captions = CaptionEvaluator()
        texts = list(self._written(told, [(row, prompt) for row in range(len(told))]))
        captions.update(range(len(texts)), texts, right)
        return captions.result()

    def _right(self, name: PartName, one: Picture) -> Sequence[str]:
        """Return what is right to say of a picture in a kind of caption."""
        if name == "captions":
            return one.captions
        if name == "descriptions":
            return one.descriptions
        seen = self.inputs[one.told]
        return [layout(regions, seen.width, seen.height) for regions in one.layouts]

    def _relations(self, one: Picture) -> list[Question]:
        """Ask where every region lies from the one before it."""
        seen, regions = self.inputs[one.told], one.relations[0]
        pairs = zip(regions[1:], regions, strict=False)
        return [relation(*pair, seen.width, seen.height) for pair in pairs]

    def _answers(self, told: Sequence[Told], asked: Sequence[Sequence[Question]]) -> LanguageResult:
        answers, template = AnswerEvaluator(), self.settings.questions.template
        each = [(row, said) for row, every in enumerate(asked) for said in every]
        prompts = [(row, question_prompt(template, said.text)) for row, said in each]
        texts = list(self._written(told, prompts))
        answers.update(range(len(texts)), texts, [said.answers for _, said in each])
        return answers.result()

    @torch.inference_mode()
    def _regions_f1(self) -> float:
        """Return the mean F1 of the words of patches, of the same pictures, each once."""
        judged = {name: every[: self.settings.judged] for name, every in self.val.items()}
        told = [one for one in all_told(judged) if one.regions is not None]
        f1 = WordF1(2 * len(self.labels))
        assert self.stage.labeller is not None
        for start in range(0, len(told), AT_ONCE):
            pictures, labels = self.regions.batch(told[start : start + AT_ONCE], self.inputs)
            f1.update(self.stage.labeller(self.stage.seen(pictures)).cpu(), labels)
        return f1.value()

    def _written(
        self, told: Sequence[Told], wanted: Sequence[tuple[int, str | None]]
    ) -> Iterator[str]:
        """Yield what is written about pictures, by their number and a prompt."""
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            numbers = sorted({number for number, _ in part})
            pictures = self.inputs.batch([self.inputs[told[number]].pixels for number in numbers])
            seen = self.stage.language.prefix(self.stage.seen(pictures))
            rows = [numbers.index(number) for number, _ in part]
            ids, mask = self.writer.padded([self._prompt(text) for _, text in part])
            out = self.writer.generate(
                seen[rows],
                ids,
                mask,
                max_new_tokens=self.settings.max_tokens,
                **searched(1, 1.0),
                return_dict_in_generate=True,
            )
            yield from self.writer.decode(out.sequences)


def set_dropout(network: nn.Module, share: float) -> None:
    """Set what is left out in training, of transformers' layers: modules, or numbers of a module.

    A number is that of its states or its attention, which are functions there (OPT).
    """
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = share  # type: ignore[assignment]  # torch types it as a submodule
