"""What lies where, as a lesson for a vision tower that starts from nothing.

Captions alone teach a new tower slowly: they say what is in a picture, not where. Where regions of
a picture are described, every patch can learn the words of the regions that it lies in (token
labelling, https://arxiv.org/abs/2104.10858, with words for classes), and the words of those whose
middle it holds (as detectors without anchors do, https://arxiv.org/abs/1904.07850): the former tell
what is there, the latter how many there are.

Shapes: B pictures, N patches, V words, at least one; labels come twice for a word, see
`patch_labels`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lakesight.media.view import Placement
from lakesight.training import ranks
from lakesight.training.blip2.mirrors import Mirrors, mirrored
from lakesight.training.blip2.texts import Region, Told
from lakesight.training.blip2.views import Inputs, Seen

MOST_WORDS = 1000
OVERLAP = 0.5
"""A patch lies in a box if they share this much of the smaller of the two."""

Labels = npt.NDArray[np.int8]
"""1 where a word is true of a patch, 0 where it is not, `UNKNOWN` where nobody said."""
UNKNOWN = -1


class Grid(NamedTuple):
    """The patches of a view, by rows."""

    rows: int
    columns: int
    patch: int
    """Side of a patch in pixels of the view."""

    @classmethod
    def of(cls, vision_config: Any) -> Self:
        """Return the patches that a vision tower's configuration says."""
        side = vision_config.image_size // vision_config.patch_size
        return cls(side, side, vision_config.patch_size)


class RegionLabels(NamedTuple):
    """What is asked of patches."""

    grid: Grid
    words: tuple[str, ...]

    def beside(self, one: Told, inputs: Inputs) -> tuple[Seen, Labels]:
        """Return what the network takes of a picture, and what is true of its patches, `(N, 2 V)`.

        See `patch_labels`.
        """
        seen = inputs[one]
        if not self.words or one.regions is None:
            shape = self.grid.rows * self.grid.columns, 2 * len(self.words)
            return seen, np.full(shape, UNKNOWN, np.int8)
        placement = inputs.look.view.place(seen.width, seen.height)
        return seen, patch_labels(one.regions, placement, self.grid, self.words)

    def drawn(
        self, one: Told, inputs: Inputs, mirrors: Mirrors, rng: np.random.Generator
    ) -> tuple[Seen, Labels]:
        """Return the same of a picture that is mirrored as it is drawn."""
        seen, labels = self.beside(one, inputs)
        if not mirrors.any:
            return seen, labels
        draws = rng.random(3)
        by_place = labels.reshape(self.grid.rows, self.grid.columns, -1)
        turned = mirrored(by_place, mirrors, draws).reshape(labels.shape)
        return seen._replace(pixels=mirrored(seen.pixels, mirrors, draws)), turned

    def batch(self, told: Sequence[Told], inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return pictures as `Inputs.batch` does, and their labels `(B, N, 2 V)`."""
        seen, labels = zip(*(self.beside(one, inputs) for one in told), strict=True)
        return inputs.batch([one.pixels for one in seen]), torch.from_numpy(np.stack(labels))


class Labeller(nn.Linear):
    """Asks every patch for its words."""

    def __init__(self, vision_config: Any, num_words: int) -> None:
        super().__init__(vision_config.hidden_size, 2 * num_words)

    def forward(self, seen: Tensor) -> Tensor:
        """Map what a tower gives, `(B, 1 + N, D)`, to logits `(B, N, 2 V)`.

        The first is the class token's, which is no patch.
        """
        return super().forward(seen[:, 1:])


def region_words(told: Iterable[Told], most: int = MOST_WORDS) -> tuple[str, ...]:
    """Return the most frequent words of regions, always in the same order."""
    counts = Counter(
        word for one in told for region in one.regions or () for word in words_in(region.phrase)
    )
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])


def words_in(phrase: str) -> list[str]:
    """Return the words of a phrase in small letters."""
    return "".join(letter if letter.isalnum() else " " for letter in phrase.lower()).split()


def patch_labels(
    regions: Sequence[Region], placement: Placement, grid: Grid, words: Sequence[str]
) -> Labels:
    """Return what is true of which patch, `(N, 2 V)`.

    First the words of the regions that it lies in, then those of the regions whose middle it holds.
    """
    labels = np.zeros((2, grid.rows * grid.columns, len(words)), np.int8)
    if regions:
        number = {word: place for place, word in enumerate(words)}
        boxes = placement.to_view(np.array([region.box_xyxy for region in regions]))
        both = zip(regions, _inside(boxes, grid), _middles(boxes, grid), strict=True)
        for region, inside, middle in both:
            known = [number[word] for word in words_in(region.phrase) if word in number]
            labels[0][np.ix_(inside.ravel(), known)] = 1
            labels[1][middle, known] = 1
    return np.concatenate([labels[0], labels[1]], axis=1)


def _inside(boxes_xyxy: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.bool_]:
    """Return which patches lie in which box, `(boxes, rows, columns)`."""
    across = _shared(boxes_xyxy[:, 0], boxes_xyxy[:, 2], grid.columns, grid.patch)
    down = _shared(boxes_xyxy[:, 1], boxes_xyxy[:, 3], grid.rows, grid.patch)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    smaller = np.minimum(areas, grid.patch**2)[:, None, None]
    inside: npt.NDArray[np.bool_] = down[:, :, None] * across[:, None, :] >= OVERLAP * smaller
    return inside


def _middles(boxes_xyxy: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.int64]:
    """Return the number of the patch that holds the middle of each box; the nearest one."""
    middles = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    places = (middles // grid.patch).clip(0, [grid.columns - 1, grid.rows - 1]).astype(np.int64)
    numbers: npt.NDArray[np.int64] = places[:, 1] * grid.columns + places[:, 0]
    return numbers


def _shared(
    starts: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], count: int, patch: int
) -> npt.NDArray[np.float64]:
    """Return the length that each of some spans shares with each patch, `(spans, count)`."""
    edges = np.arange(count + 1) * float(patch)
    first = np.maximum(starts[:, None], edges[None, :-1])
    last = np.minimum(ends[:, None], edges[None, 1:])
    shared: npt.NDArray[np.float64] = np.maximum(last - first, 0.0)
    return shared


def regions_loss(logits: Tensor, labels: Tensor, present: float = 1.0) -> Tensor:
    """Return the loss of `(B, N, 2 V)` given labels: summed over words, the mean of patches.

    What is true counts `present` times as much as what is not; patches that nobody described do not
    count. Of several processes each has its share of the mean over all patches.
    """
    known = labels != UNKNOWN
    each = binary_cross_entropy_with_logits(
        logits.float(),
        labels.clamp(min=0).float(),
        known.float(),
        reduction="none",
        pos_weight=logits.new_tensor(present),
    )
    count = known[..., 0].sum()
    return ranks.share_of(count) * each.sum() / count.clamp(min=1)


class WordF1:
    """How well patches know their words: the mean of the F1 of each word that is there."""

    def __init__(self, num_words: int) -> None:
        self.right, self.told, self.true = torch.zeros(3, num_words, dtype=torch.long)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count patches; a word is said where it is likelier than not."""
        known = labels[..., 0] != UNKNOWN
        told, true = logits[known] > 0, labels[known] == 1
        self.right += (told & true).sum(dim=0)
        self.told += told.sum(dim=0)
        self.true += true.sum(dim=0)

    def value(self) -> float:
        """Return the mean, between 0 and 1."""
        f1 = 2 * self.right / (self.told + self.true).clamp(min=1)
        there = self.true > 0
        return float(f1[there].mean()) if there.any() else 0.0
