"""BLIP-2's first stage as a part of a training: pairs in, the Q-Former's three losses out."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lakesight.metrics import LanguageResult, RetrievalEvaluator
from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.training import ranks
from lakesight.training.blip2.first_stage import FirstStageWeights, Pairs, first_stage_losses
from lakesight.training.blip2.mirrors import check_square
from lakesight.training.blip2.pairs import (
    Collate,
    PairBatch,
    PairDataset,
    Tokenise,
    padded,
    pair_loader,
)
from lakesight.training.blip2.regions import (
    Grid,
    Labeller,
    RegionLabels,
    WordF1,
    region_words,
    regions_loss,
)
from lakesight.training.blip2.settings import Blip2Settings, FirstStageSettings
from lakesight.training.blip2.texts import Told
from lakesight.training.blip2.tower import quicken
from lakesight.training.blip2.views import Inputs, Look
from lakesight.training.loop import Batches, Losses
from lakesight.training.sampling import Shuffled

T = TypeVar("T")
AT_ONCE = 64
"""Pictures, or texts, that are encoded together in validation."""


class Words(NamedTuple):
    """What the Q-Former's tokenizer makes of texts."""

    tokenise: Tokenise
    pad_id: int
    start_id: int
    """What a text begins with where it is written."""


class FirstStage(nn.Module):
    """The network with its losses in one forward pass, as what shares gradients wants it."""

    def __init__(
        self, model: Blip2ForPretraining, start_id: int, weights: FirstStageWeights, num_words: int
    ):
        """Take the number of words that patches learn."""
        super().__init__()
        self.model, self.start_id, self.weights = model, start_id, weights
        config = model.retrieval.config.vision_config
        self.labeller = Labeller(config, num_words) if num_words else None

    def forward(self, pictures: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of pictures with their texts.

        Pictures are pixels `(B, 3, H, W)`, or what the vision tower saw, `(B, 1 + N, D)`.
        """
        seen = pictures if pictures.ndim == 3 else self.model.see(pictures)
        losses: dict[str, Tensor] = {}
        if self.weights.text:
            pairs = Pairs(seen, batch.ids, batch.mask, batch.texts, self.start_id)
            losses = first_stage_losses(self.model, pairs, self.weights)
        if self.labeller is not None:
            loss = regions_loss(self.labeller(seen), batch.regions, self.weights.present)
            losses["regions"] = self.weights.regions * loss
        return losses


class FirstStageRecipe:
    """See `lakesight.training.loop.Recipe`."""

    def __init__(
        self,
        model: Blip2ForPretraining,
        words: Words,
        look: Look,
        data: tuple[Sequence[Told], Sequence[Told]],
        settings: FirstStageSettings,
        device: torch.device | None = None,
    ) -> None:
        """Take what to train on and what to validate on as `data`."""
        self.device = device or torch.device("cpu")
        self.model = model
        self.words, self.settings = words, settings
        train, self.val = data
        self.labels = region_words(train) if settings.loss.regions else ()
        stage = FirstStage(model, words.start_id, settings.loss, len(self.labels))
        self.stage = stage.to(self.device)
        self.network: nn.Module = self.stage
        grid = Grid.of(model.retrieval.config.vision_config)
        self.regions = RegionLabels(grid, self.labels)
        self.inputs = Inputs([*train, *self.val], look, settings.keep, self._see)
        check_square(look.view, settings.mirrors)
        self.dataset = PairDataset(
            train, self.inputs, words.tokenise, self.regions, settings.seed, settings.mirrors
        )
        self.num_examples = len(train)
        if settings.freeze_vision:
            model.freeze_vision()
        else:
            quicken(model.retrieval.vision_model, self.device)
        if not settings.loss.text:
            model.freeze_all_but_vision()
        for name, weights in model.heads().items():
            for weight in weights if not getattr(settings.loss, name) else ():
                weight.requires_grad_(False)  # no loss reaches it

    def batches(self, rank: int, num_ranks: int) -> tuple[Batches, Shuffled]:
        """Return one process' batches; where texts are shared by several, all have one length."""
        settings = self.settings
        self.inputs.look_ahead(settings.num_readers)
        length = settings.max_tokens if num_ranks > 1 and settings.loss.match else None
        collate = Collate(self.words.pad_id, length)
        return pair_loader(
            self.dataset, collate, settings.batch_size, settings.num_readers, (rank, num_ranks)
        )

    def scales(self) -> Mapping[nn.Parameter, float]:
        """Return the layer decay of the vision tower."""
        return layer_scales(self.model.retrieval.vision_model, self.settings.layer_decay)

    def set_train(self) -> None:
        """Train; a frozen vision tower stays in evaluation."""
        self.network.train()

    def losses(self, model: nn.Module, batch: PairBatch, step: int) -> Losses:
        """Return ITC, ITM and ITG of the batch."""
        pictures = self.inputs.batch(batch.pictures)
        with drawn_by(self.settings.seed, step, self.device), self._precision():
            parts = model(pictures, batch.to(self.device))
        return Losses(parts, len(pictures))

    def _precision(self) -> AbstractContextManager[Any]:
        return precision_of(self.settings, self.device)

    @torch.no_grad()
    def _see(self, pixels: Tensor) -> Tensor:
        with self._precision():
            return self.model.see(pixels)

    def evaluate(self) -> Mapping[str, float]:
        """Judge the network as it is: the mean of both ways' Recall@1 is its fitness.

        Where nothing is learned from captions, it is how well patches know their words.
        """
        found, words = self.judged()
        if words is not None and not self.settings.loss.text:
            return {"regions_f1": words, "fitness": words}
        figures = found.figures() | ({} if words is None else {"regions_f1": words})
        both = figures["text_to_image_r1"], figures["image_to_text_r1"]
        return {**figures, "fitness": sum(both) / 2}

    @torch.no_grad()
    def judged(self) -> tuple[LanguageResult, float | None]:
        """Return Recall@K both ways by ITC, over all captions of the validation's pictures.

        And the mean F1 of the words of patches, where they are learned.
        """
        captions = [text for one in self.val for text in one.captions]
        owners = [row for row, one in enumerate(self.val) for _ in one.captions]
        f1 = WordF1(2 * len(self.labels))
        images = torch.cat([self._images(part, f1) for part in _parts(self.val)])
        texts = torch.cat([self._texts(part) for part in _parts(captions)])
        cosines = [
            torch.einsum("pqe,te->ptq", part, texts).amax(-1).float().cpu().numpy()
            for part in torch.split(images, AT_ONCE)
        ]
        found = RetrievalEvaluator()
        found.update(range(len(self.val)), range(len(captions)), np.concatenate(cosines), owners)
        return found.result(), f1.value() if self.labels else None

    def _images(self, told: Sequence[Told], f1: WordF1) -> Tensor:
        pictures, labels = self.regions.batch(told, self.inputs)
        seen = pictures if pictures.ndim == 3 else self.model.see(pictures)
        if self.stage.labeller is not None:
            f1.update(self.stage.labeller(seen).cpu(), labels)
        return self.model.image_vectors(self.model.query(seen))

    def _texts(self, texts: Sequence[str]) -> Tensor:
        ids, mask = padded([self.words.tokenise(one) for one in texts], self.words.pad_id, None)
        return self.model.text_vectors(ids.to(self.device), mask.to(self.device))


def layer_scales(tower: Any, decay: float) -> dict[nn.Parameter, float]:
    """Return the factor of every weight of a vision tower: `decay` to the power of its depth.

    1 for the last layer and what is behind it, the smallest for what sees the pixels.
    """
    layers = tower.encoder.layers
    depth = {
        weight: len(layers) - 1 - number
        for number, layer in enumerate(layers)
        for weight in layer.parameters()
    }
    depth |= dict.fromkeys(tower.embeddings.parameters(), len(layers))
    return {weight: decay**steps for weight, steps in depth.items()}


def precision_of(settings: Blip2Settings, device: torch.device) -> AbstractContextManager[Any]:
    """Return the arithmetic that a forward pass is asked for, as a context."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


@contextmanager
def drawn_by(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Have what is drawn (dropout, hard negatives) depend on the seed, the step and the process.

    Then go on as before.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(step_seed(seed, step, ranks.place()[0]))
        yield


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of a step in the process of that number; of the first as it was ever.

    Of the others it differs in every bit: the CPU's generator takes the lowest 32 alone.
    """
    own = (seed * 2**20 + step) % 2**64  # as many bits as torch takes
    if rank == 0:
        return own
    digest = hashlib.blake2b(f"{own} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _parts(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE)]
