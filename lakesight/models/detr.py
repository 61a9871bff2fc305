"""Detection by set prediction through transformers: D-FINE, RT-DETR and RT-DETRv2.

Shapes: B pictures, Q object queries, C classes, K detections kept before the threshold.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor

from lakesight.errors import UserError
from lakesight.models.artefact import read_labels
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.detection import Found, sizes, to_arrow
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import (
    Pixels,
    TorchOptions,
    load_weights,
    require_finite,
    require_torch,
)
from lakesight.schemas import detection_type

Floats = npt.NDArray[np.float32]


class DetrOptions(TorchOptions):
    """What to keep of what a DETR saw."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: float32. bfloat16 moves boxes by up to 1/256 of the picture; float16 overflows."""

    score_threshold: float = Field(default=0.5, ge=0, le=1)
    """Boxes that score less are not written."""
    max_detections: int = Field(default=300, ge=1)
    """The best so many boxes of a picture are written; there is no suppression among them."""

    def torch_dtype(self) -> torch.dtype:
        """Return the dtype of the weights: float32 on a GPU too, unless told."""
        return torch.float32 if self.dtype == "auto" else super().torch_dtype()


class Detr:
    """Boxes from a checkpoint of `AutoModelForObjectDetection` that scores classes by sigmoid."""

    Options = DetrOptions
    concurrent = False

    def __init__(
        self, card: ModelCard, folder: Path, options: DetrOptions, runtime: RuntimeName
    ) -> None:
        from transformers import AutoModelForObjectDetection

        require_torch(card, runtime)
        self.card, self.options = card, options
        preprocessor = read_preprocessor(folder, card.family)
        self.view = preprocessor.view
        self.output = pa.field("detections", detection_type())
        self._model = load_weights(AutoModelForObjectDetection, folder, options)
        self._pixels = Pixels(preprocessor, options.torch_device(), options.torch_dtype())
        self.runs_on = f"torch on {self._pixels.device.type}"
        self._labels = _labels(card, folder, self._model.config.id2label)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `detections` of each view, best first."""
        if not views:
            return to_arrow([], self._labels)
        pictures = zip(*self._detect(views), sizes(rows), strict=True)
        return to_arrow([self._found(*picture) for picture in pictures], self._labels)

    @torch.inference_mode()
    def _detect(self, views: Sequence[Image]) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Return relative cxcywh boxes `(B, K, 4)`, scores `(B, K)` and classes `(B, K)`."""
        out = self._model(pixel_values=self._pixels(views))
        count = self.options.max_detections
        logits, all_boxes = require_finite(out.logits), require_finite(out.pred_boxes)
        boxes, scores, classes = top_pairs(all_boxes, logits, count)
        return boxes.cpu().numpy(), scores.cpu().numpy(), classes.cpu().numpy()

    def _found(
        self,
        boxes_cxcywh: Floats,
        scores: Floats,
        classes: npt.NDArray[np.int64],
        size: tuple[int, int],
    ) -> Found:
        """Return one picture's objects, in its own pixels."""
        keep = scores >= self.options.score_threshold
        centre, half = boxes_cxcywh[keep, :2], boxes_cxcywh[keep, 2:] / 2
        side = np.array((self.view.width, self.view.height) * 2, np.float32)
        boxes_xyxy = np.concatenate([centre - half, centre + half], axis=1) * side
        found = Found(boxes_xyxy, scores[keep], classes[keep].astype(np.int32))
        return found.in_original(self.view, *size)


def top_pairs(boxes: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best `count` pairs of query and class, as RT-DETR's own post-processing does.

    boxes `(B, Q, 4)` and logits `(B, Q, C)` give boxes `(B, K, 4)`, scores and classes `(B, K)`.
    One query may give several classes (https://arxiv.org/abs/2304.08069).
    """
    num_classes = logits.shape[2]
    scores = logits.sigmoid().flatten(1)  # (B, Q * C)
    best, index = scores.topk(min(count, scores.shape[1]), dim=1)
    query = (index // num_classes).unsqueeze(-1).expand(-1, -1, 4)
    return boxes.gather(1, query), best, index % num_classes


def _labels(card: ModelCard, folder: Path, id2label: dict[int, str]) -> tuple[str, ...]:
    """Return the class names by id: the card's where it has them, else the checkpoint's own."""
    own = tuple(id2label[number] for number in sorted(id2label))
    labels = own if card.labels is None else read_labels(card, folder)
    if len(labels) != len(own):
        raise UserError(
            f"{card.name} has {len(own)} classes, but its card names {len(labels)} labels: "
            "correct the card's labels, or leave them out to take the checkpoint's"
        )
    return labels
