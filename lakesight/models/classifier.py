"""Image classification, with the layer below as features.

One network gives both: `open_classifier` opens it once for `Classifier` and `ImageEmbedder`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from lakesight.models.artefact import read_labels, weights_file
from lakesight.models.base import Frozen, Image, ModelCard, RuntimeName
from lakesight.runtimes.base import Network, Runtime, RuntimeOptions, place
from lakesight.runtimes.choose import open_network
from lakesight.schemas import CLASSES

Scores = npt.NDArray[np.float32]


class ClassifierOptions(RuntimeOptions):
    """Options of a classifier."""

    top_k: int = Field(default=5, ge=1)
    """The best so many classes of a picture are written."""


class ClassifierContract(Frozen):
    """The tensors of a classifier."""

    scores: str
    """`(1, classes)`."""
    logits: bool = False
    """Whether `scores` still wants a softmax."""
    features: str | None = None
    """`(1, dim)` pooled features: a tensor name, or `penultimate`; makes it an embedder too."""
    dim: int | None = None
    layout: str = "NHWC"
    channels: str = "rgb"
    mean: tuple[float, float, float] | None = None
    scale: tuple[float, float, float] | None = None

    def network(self, width: int, height: int) -> Network:
        """Return how to run the file, at its input size in pixels."""
        return Network.model_validate(
            {
                **self.model_dump(exclude={"scores", "logits", "dim"}),
                "width": width,
                "height": height,
                "outputs": (self.scores,),
            }
        )


def open_classifier(
    card: ModelCard, folder: Path, options: RuntimeOptions, runtime: RuntimeName
) -> Runtime:
    """Open the network behind a classifier's card: scores, and features where the card has them."""
    assert card.view is not None
    contract = ClassifierContract.model_validate(card.contract)
    network = contract.network(card.view.width, card.view.height)
    return open_network(weights_file(card, folder), network, options, runtime)


class Classifier:
    """The likeliest classes of a picture."""

    Options = ClassifierOptions
    concurrent = True

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        options: ClassifierOptions,
        runtime: RuntimeName,
        network: Runtime | None = None,
    ) -> None:
        assert card.view is not None
        self.card = card
        self.view = card.view
        self.output = pa.field("classes", CLASSES)
        self.network = network or open_classifier(card, folder, options, runtime)
        self.runs_on = place(self.network)
        self._contract = ClassifierContract.model_validate(card.contract)
        self._labels = np.array(read_labels(card, folder), dtype=object)
        self._top_k = min(options.top_k, len(self._labels))

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `top_k` best classes of every picture, best first, as `schemas.CLASSES`."""
        if not views:
            return pa.array([], CLASSES)
        scores: Scores = self.network.infer(views)[self._contract.scores]
        scores = softmax(scores) if self._contract.logits else scores
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]
        return self._to_arrow(best, np.take_along_axis(scores, best, axis=1))

    def _to_arrow(self, class_ids: npt.NDArray[np.intp], scores: Scores) -> pa.Array:
        """Return one list per picture from two `(pictures, top_k)` arrays."""
        columns = [
            pa.array(class_ids.ravel(), pa.int32()),
            pa.array(self._labels[class_ids.ravel()], pa.string()),
            pa.array(scores.ravel(), pa.float32()),
        ]
        classes = pa.StructArray.from_arrays(columns, fields=list(CLASSES.value_type))
        offsets = np.arange(len(class_ids) + 1, dtype=np.int32) * self._top_k
        return pa.ListArray.from_arrays(pa.array(offsets), classes, type=CLASSES)


def softmax(logits: Scores) -> Scores:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
