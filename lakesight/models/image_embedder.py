"""A classifier's pooled features as an image embedding."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.classifier import ClassifierContract, open_classifier
from lakesight.runtimes.base import Runtime, RuntimeOptions, place
from lakesight.schemas import embedding_type


class ImageEmbedder:
    """L2-normalised float16 vectors from the layer below a classifier's last."""

    Options = RuntimeOptions
    concurrent = True

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        options: RuntimeOptions,
        runtime: RuntimeName,
        network: Runtime | None = None,
    ) -> None:
        assert card.view is not None
        contract = ClassifierContract.model_validate(card.contract)
        if contract.features is None or contract.dim is None:
            raise UserError(f"the card of {card.name} names no `features` and `dim` to embed with")
        self.card = card
        self.view = card.view
        self.output = pa.field("embedding", embedding_type(contract.dim))
        self.network = network or open_classifier(card, folder, options, runtime)
        self.runs_on = place(self.network)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return one unit vector per picture, as the fixed-size float16 list of `output`."""
        if not views:
            return pa.array([], self.output.type)
        features = self.network.infer(views)["features"].astype(np.float32)
        vectors = unit(features.reshape(len(views), -1)).astype(np.float16)
        return pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=self.output.type)


def unit(vectors_nd: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the vectors at length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    return np.asarray(vectors_nd / np.maximum(lengths, np.finfo(np.float32).tiny))
