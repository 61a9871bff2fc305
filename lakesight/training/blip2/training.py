"""BLIP-2's first stage as a training: from captioned pictures to a model folder."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lakesight.errors import UserError
from lakesight.files import write_whole
from lakesight.metrics import LanguageResult
from lakesight.models.artefact import sha256_of
from lakesight.models.base import FolderSource, ModelCard
from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.models.pretrained import Pixels
from lakesight.models.yolo.folder import CARD, write_card
from lakesight.training import optimizing
from lakesight.training.binding import model_name
from lakesight.training.blip2.beginning import Start, start
from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.recipe import FirstStageRecipe, Look, Words
from lakesight.training.blip2.texts import Told, open_texts
from lakesight.training.callbacks import CsvLog, Curves
from lakesight.training.loop import BEST, SETTINGS, STATE, Callback, Progress, Trainer


class Tokens:
    """A text to its tokens, cut to so many; picklable, for readers of their own."""

    def __init__(self, tokenizer: Any, most: int) -> None:
        self.tokenizer, self.most = tokenizer, most

    def __call__(self, text: str) -> list[int]:
        """Return the tokens, [CLS] first and [SEP] last."""
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=self.most)["input_ids"]
        return ids


class FirstStageTraining:
    """See `lakesight.training.families.Training`."""

    Job = FirstStageJob

    def __init__(self, job: FirstStageJob) -> None:
        self.job = job
        if job.val is None and Path(job.data).suffix == ".json":
            raise UserError(f"{job.data} has no parts: name others to validate on with --val")
        self.train = self._opened(job.data, "train", job.images)
        self.val = self._opened(job.validation, "val", job.val_images or job.images)
        self.num_examples = len(self.train)

    def _opened(self, data: str, split: Any, images: str | None) -> list[Told]:
        return open_texts(data, split, "captions", images, self.job.captions)

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        count = sum(len(one.captions) for one in self.train)
        return (
            f"retrieve: {len(self.train):,} pictures with {count:,} captions to train on, "
            f"{len(self.val):,} to validate; from {self.job.weights or 'nothing'}"
        )

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
        trainer = Trainer(self._recipe(self._start(), device), self.job, state, callbacks)
        trainer.resume()
        return trainer.fit()

    def finish(self, folder: Path, shown: str | None = None) -> tuple[ModelCard, LanguageResult]:
        """Write the best weights as a checkpoint of transformers with a card, judged as written."""
        state = folder / STATE
        if not (state / BEST).is_file():
            raise UserError(
                f"{shown or folder} has no weights, though they are trained: the output must be a "
                "folder that all machines share, or an s3:// prefix"
            )
        begun = self._start()
        best = torch.load(state / BEST, weights_only=True, map_location="cpu")
        optimizing.put(optimizing.learning(self._recipe(begun).network), best["network"])
        draft = state / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        self._write(begun, draft)
        written = begun._replace(model=Blip2ForPretraining.load(draft).eval())
        result = self._recipe(written).judged()
        write_whole(state / "evaluation.json", json.dumps(result.to_dict(), indent=2) + "\n")
        card = self._card(begun, draft, self.job.name or model_name(shown or str(folder.resolve())))
        card = card.model_copy(update={"metrics": _rounded(result)})
        write_card(draft, card)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == CARD):
            path.replace(folder / path.name)  # the card last: a folder with one is a whole model
        draft.rmdir()
        return card, result

    def _start(self) -> Start:
        return start(self.job, (text for one in self.train for text in one.captions))

    def _recipe(self, begun: Start, device: torch.device | None = None) -> FirstStageRecipe:
        tokenizer, preprocessor = begun.tokenizer, begun.preprocessor
        words = Words(
            Tokens(tokenizer, self.job.max_tokens), tokenizer.pad_token_id, tokenizer.bos_token_id
        )
        pixels = Pixels(preprocessor, device or torch.device("cpu"), torch.float32)
        look = Look(preprocessor.view, pixels)
        return FirstStageRecipe(begun.model, words, look, (self.train, self.val), self.job, device)

    def _write(self, begun: Start, folder: Path) -> None:
        model = begun.model.half() if self.job.half else begun.model
        model.save(folder)
        begun.tokenizer.save_pretrained(folder)
        for name, content in begun.pixels.items():
            (folder / name).write_bytes(content)

    def _card(self, begun: Start, folder: Path, name: str) -> ModelCard:
        job = self.job
        return ModelCard(
            name=name,
            kind="embed",
            family="image-text",
            source=FolderSource(uri=str(folder)),
            sha256={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
            licences=begun.licences,
            view=begun.preprocessor.view,
            provenance=f"BLIP-2's first stage, trained by lakesight train on {len(self.train):,} "
            f"pictures of {job.data}, {begun.note}, seed {job.seed}; {STATE}/{SETTINGS} has every "
            f"setting. Its metrics are of the {len(self.val):,} pictures of {job.validation} that "
            "chose the best epoch.",
        )


def _rounded(result: LanguageResult) -> dict[str, float]:
    return {name: round(value, 4) for name, value in result.figures().items()}
