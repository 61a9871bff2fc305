"""What BLIP-2's two stages share as trainings: from pictures with texts to a model folder."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch

from lakesight.errors import UserError
from lakesight.evaluation import Evaluation, evaluate, to_judge
from lakesight.evaluation.result import Result
from lakesight.evaluation.texts import Texts
from lakesight.files import write_whole
from lakesight.models import catalog, licences
from lakesight.models.artefact import sha256_of
from lakesight.models.base import FolderSource, Kind, ModelCard
from lakesight.models.yolo.folder import CARD, write_card
from lakesight.training import optimizing
from lakesight.training.binding import model_name
from lakesight.training.blip2.beginning import Start, preprocessor_of
from lakesight.training.blip2.job import FirstStageJob, SecondStageJob
from lakesight.training.blip2.places import Places
from lakesight.training.blip2.second_beginning import SecondStart
from lakesight.training.blip2.texts import SceneCaptions, Told, Wanted, open_texts
from lakesight.training.callbacks import CsvLog, Curves
from lakesight.training.loop import BEST, SETTINGS, STATE, Callback, Progress, Recipe, Trainer


class Trial(NamedTuple):
    """How a model is judged: as which kind, by what."""

    kind: Kind
    texts: Texts


StageJob = TypeVar("StageJob", FirstStageJob, SecondStageJob)
Begun = TypeVar("Begun", Start, SecondStart)
Half = Literal["train", "val"]
"""What is trained on, or what is validated on."""


class StageTraining(ABC, Generic[StageJob, Begun]):
    """What both stages share; see `lakesight.training.families.Training`."""

    kind: Kind
    family: str
    title: str
    """What a card calls the stage."""
    num_examples: int

    def __init__(self, job: StageJob) -> None:
        self.job: StageJob = job

    @abstractmethod
    def sources(self) -> Iterator[tuple[Places, int]]:
        """Yield where texts are, and of how many pictures to train on they are."""

    def judged_on(self) -> Iterator[Places]:
        """Yield where the texts of a card's figures are."""
        yield from (places for places, _ in self.sources())

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

    def write_whole(self, begun: Begun, folder: Path) -> None:
        """Write the same with its tokenizer, and with what says which pixels it wants."""
        self.write(begun, folder)
        begun.tokenizer.save_pretrained(folder)
        for name, content in begun.pixels.items():
            (folder / name).write_bytes(content)

    @abstractmethod
    def trials(self) -> Iterator[Trial]:
        """Yield how what was written is judged."""

    def contract(self) -> dict[str, Any]:
        """Return what a card says of how it is used."""
        return {}

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
        self.write_whole(begun, draft)
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
        for kind, texts in self.trials():
            spec = catalog.spec(card.source.uri, kind, licences_accepted=own)
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
            contract=self.contract(),
            provenance=f"{self.title}, trained by lakesight train on {self._trained_on()}, "
            f"{begun.note}, seed {job.seed}; {STATE}/{SETTINGS} has every setting. Its metrics are "
            f"of the pictures of {self._validated_on()} that chose the best epoch.",
        )

    def _trained_on(self) -> str:
        counts: dict[str, int] = {}
        for places, count in self.sources():
            data = places.train.data
            counts[data] = max(count, counts.get(data, 0))
        return " and ".join(f"{count:,} pictures of {data}" for data, count in counts.items())

    def _validated_on(self) -> str:
        return " and ".join(dict.fromkeys(places.val.data for places in self.judged_on()))

    def check_described(self, train: Sequence[Told], val: Sequence[Told]) -> None:
        """Raise UserError where patches are to learn regions, and nobody described any."""
        for told, which in ((train, self._trained_on()), (val, self._validated_on())):
            if not any(one.regions for one in told):
                raise UserError(
                    f"{which}: no regions are described: leave their weight at 0, or describe some "
                    "(docs/training-blip2.md)"
                )

    def opened(
        self,
        places: Places,
        split: Half,
        wanted: Wanted,
        column: SceneCaptions,
        *,
        regions: bool = False,
    ) -> list[Told]:
        """Open the texts to train on, or to validate on."""
        data, images = places.train if split == "train" else places.val
        return open_texts(data, split, wanted, images, column, regions=regions)
