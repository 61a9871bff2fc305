"""The losses of BLIP-2's first stage: ITC, ITM, ITG (https://arxiv.org/abs/2301.12597, 3.2).

Shapes: B pairs of a picture and a text, Q queries, E of the shared space, S tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lakesight.models.blip2.language import IGNORED

LABEL_SMOOTHING = 0.1
NONE = -1
"""In place of the number of a negative, where there is none."""


class Similarities(NamedTuple):
    """Cosines of every picture with every text, by the picture's best query."""

    image_to_text: Tensor
    """`(B, B of all processes)`."""
    text_to_image: Tensor
    """`(B, B of all processes)`."""


def similarities(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor
) -> Similarities:
    """Compare this process's pictures `(B, Q, E)` and texts `(B, E)` with those of all."""
    image_to_text = torch.einsum("bqe,te->btq", images, all_texts).amax(dim=-1)
    text_to_image = torch.einsum("be,iqe->biq", texts, all_images).amax(dim=-1)
    return Similarities(image_to_text, text_to_image)


def contrastive_loss(found: Similarities, temperature: Tensor, same: Tensor) -> Tensor:
    """Return the image-text contrastive loss, the mean of both ways, with smoothed labels.

    `same` `(B, B of all)`: which texts are true of a picture, by being its own or equal to it; they
    share the label, so that a text that two pictures have is nobody's mistake.
    """
    wanted = same.float() / same.sum(dim=1, keepdim=True)
    each = [
        cross_entropy(cosines / temperature, wanted, label_smoothing=LABEL_SMOOTHING)
        for cosines in found
    ]
    return (each[0] + each[1]) / 2


def hard_negatives(
    cosines: Tensor, temperature: Tensor, same: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draw for each row of `(B, B of all)` a column that is not `same`: the closer, the likelier.

    Returns `(B,)` numbers; `NONE` where a row is the same as everything, and has no negative.
    """
    weights = (cosines.detach() / temperature.detach()).softmax(dim=1) + 1e-4
    weights = weights.masked_fill(same, 0.0)
    empty = weights.sum(dim=1) == 0
    weights[empty] = 1.0
    drawn = torch.multinomial(weights, 1, generator=generator).squeeze(1)
    return drawn.masked_fill(empty, NONE)


def writing_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of the next token: logits `(B, S, V)` for `labels[:, 1:]` of `(B, S)`."""
    return cross_entropy(
        logits[:, :-1].flatten(0, 1),
        labels[:, 1:].flatten(),
        ignore_index=IGNORED,
        label_smoothing=LABEL_SMOOTHING,
    )
