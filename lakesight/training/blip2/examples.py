"""What BLIP-2's second stage learns of a picture at one look: some of its texts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from lakesight.models.prompts import question_prompt
from lakesight.training.blip2.parts import PartTexts, Said, layout, relation
from lakesight.training.blip2.regions import Labels, RegionLabels
from lakesight.training.blip2.settings import PartName, SecondStageSettings
from lakesight.training.blip2.told import Question
from lakesight.training.blip2.views import Array, Inputs, Seen
from lakesight.training.sampling import Key


class Text(NamedTuple):
    """What is to be written, and after what."""

    part: PartName
    prompt: str | None
    answer: str


class Example(NamedTuple):
    """What is to be written about a picture."""

    picture: Array
    """What the network takes of it: see `views.Inputs`."""
    texts: Sequence[Text]
    regions: Labels
    """`(N, 2 V)`, see `regions.patch_labels`; V is 0 where nobody learns them."""


class ExampleDataset(TorchDataset[Example]):
    """Each picture with some of its texts, others in every epoch; kinds by their shares."""

    def __init__(
        self,
        texts: PartTexts,
        inputs: Inputs,
        labels: RegionLabels,
        settings: SecondStageSettings,
    ) -> None:
        self.texts, self.inputs, self.labels, self.settings = texts, inputs, labels, settings
        self.shares = {name: part.share for name, part in settings.parts.items()}
        self.prompts = settings.prompts

    def __len__(self) -> int:
        return max(map(len, self.texts.values()))

    def __getitem__(self, key: Key) -> Example:
        rng = np.random.default_rng([self.settings.seed, key.epoch, key.number])
        first = self._kind(list(self.texts), rng)
        one = self.texts[first][key.number % len(self.texts[first])]
        seen, regions = self.labels.drawn(one.told, self.inputs, self.settings.mirrors, rng)
        left = {name: list(rng.permutation(len(one.said(name)))) for name in one.kinds()}
        texts = []
        for number in range(min(self.settings.texts_per_picture, sum(map(len, left.values())))):
            name = self._kind([name for name in left if left[name]], rng) if number else first
            said = one.said(name)[int(left[name].pop())]
            texts.append(self._text(name, said, seen, rng))
        return Example(seen.pixels, texts, regions)

    def _kind(self, names: Sequence[PartName], rng: np.random.Generator) -> PartName:
        """Draw a kind of text by the shares."""
        shares = np.array([self.shares[name] for name in names])
        return names[int(rng.choice(len(names), p=shares / shares.sum()))]

    def _text(self, name: PartName, said: Said, seen: Seen, rng: np.random.Generator) -> Text:
        """Return what is to be written: a caption, a layout, or one of a question's answers."""
        if name == "relations" and isinstance(said, tuple):
            one, other = rng.choice(len(said), 2, replace=False)
            said = relation(said[int(one)], said[int(other)], seen.width, seen.height)
        if isinstance(said, Question):
            answer = said.answers[int(rng.integers(len(said.answers)))]
            return Text(name, question_prompt(self.settings.questions.template, said.text), answer)
        text = said if isinstance(said, str) else layout(said, seen.width, seen.height)
        return Text(name, self.prompts[name], text)
