"""BLIP-2's first stage: one batch of pairs to the losses ITC, ITM and ITG.

Shapes: B pairs in this process, N patches, S tokens, Q queries, E of the shared space.
"""

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from lakesight.models.base import Frozen
from lakesight.models.blip2.language import IGNORED
from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.training import ranks
from lakesight.training.blip2.losses import (
    NONE,
    contrastive_loss,
    hard_negatives,
    similarities,
    writing_loss,
)


class FirstStageWeights(Frozen):
    """What each loss of the first stage counts; 0 leaves it out."""

    contrast: float = Field(default=1.0, ge=0)
    """ITC: a picture and its text are closer than those of others."""
    match: float = Field(default=1.0, ge=0)
    """ITM: do they belong together? The others are the hardest to tell apart."""
    write: float = Field(default=1.0, ge=0)
    """ITG: the text, word by word, from the picture."""
    regions: float = Field(default=0.0, ge=0)
    """Every patch learns the words of the regions that it lies in, where regions are described: for
    a vision tower that starts from nothing."""
    present: float = Field(default=4.0, gt=0)
    """What a word that is true of a patch counts there, beside one that is not: few are."""

    @property
    def text(self) -> bool:
        """Whether anything is learned from captions."""
        return bool(self.contrast or self.match or self.write)


class Pairs(NamedTuple):
    """Pictures and a text of each."""

    seen: Tensor
    """`(B, N, D)`, what the frozen vision tower gave."""
    ids: Tensor
    """`(B, S)` tokens, padded on the right; they begin with [CLS] and end with [SEP]."""
    mask: Tensor
    """`(B, S)`: 1 where a token is."""
    texts: Tensor
    """`(B,)` int64: equal where texts are equal, over all processes."""
    start_id: int
    """What a text begins with where it is written, in place of [CLS]."""


def first_stage_losses(
    model: Blip2ForPretraining,
    pairs: Pairs,
    weights: FirstStageWeights,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return the weighted losses of pairs, named as in `FirstStageWeights`.

    In a process group pictures are held against the texts of all processes, with gradients both
    ways, and what is written counts by its tokens: the mean over N processes, of losses and of
    gradients, is what one would compute of the whole batch. `generator` draws the hard negatives.
    """
    losses: dict[str, Tensor] = {}
    model.bound_temperature()
    if weights.write:
        written_ids = torch.cat(
            [torch.full_like(pairs.ids[:, :1], pairs.start_id), pairs.ids[:, 1:]], dim=1
        )
        queries, logits = model.write(pairs.seen, written_ids, pairs.mask)
        labels = written_ids.masked_fill(pairs.mask == 0, IGNORED)
        share = ranks.share_of((labels[:, 1:] != IGNORED).sum())
        losses["write"] = weights.write * share * writing_loss(logits, labels)
    else:
        queries = model.query(pairs.seen)
    if not (weights.contrast or weights.match):
        return losses
    images, texts = model.image_vectors(queries), model.text_vectors(pairs.ids, pairs.mask)
    with torch.autocast(images.device.type, enabled=False):  # at 1 / temperature bf16 is coarse
        images, texts = images.float(), texts.float()
        found = similarities(images, texts, ranks.gathered(images), ranks.gathered(texts))
    same = pairs.texts[:, None] == ranks.gathered(pairs.texts)[None, :]
    if weights.contrast:
        losses["contrast"] = weights.contrast * contrastive_loss(found, model.temperature, same)
    if weights.match:
        temperature = model.temperature
        text_numbers = hard_negatives(found.image_to_text, temperature, same, generator)
        image_numbers = hard_negatives(found.text_to_image, temperature, same, generator)
        losses["match"] = weights.match * _matching(model, pairs, text_numbers, image_numbers)
    return losses


def _matching(
    model: Blip2ForPretraining, pairs: Pairs, text_numbers: Tensor, image_numbers: Tensor
) -> Tensor:
    """Return the matching loss of the pairs, and of each picture and text with a wrong partner.

    Those that have none (`NONE`) are left out.
    """
    seen = torch.cat([pairs.seen, pairs.seen, ranks.gathered(pairs.seen)[image_numbers]])
    ids = torch.cat([pairs.ids, ranks.gathered(pairs.ids)[text_numbers], pairs.ids])
    mask = torch.cat([pairs.mask, ranks.gathered(pairs.mask)[text_numbers], pairs.mask])
    wanted = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    wanted[: len(pairs.ids)] = 1
    wanted[len(pairs.ids) :][torch.cat([text_numbers, image_numbers]) == NONE] = IGNORED
    return cross_entropy(model.match(seen, ids, mask), wanted, ignore_index=IGNORED)
