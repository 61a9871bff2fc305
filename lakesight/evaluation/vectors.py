"""An image-text model that gives every vector of a picture, whatever it writes into a table."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lakesight.models.base import Image, ImageEncoder
from lakesight.schemas import embedding_type


class EveryVector:
    """See `look.Looking`: all Q vectors of a picture, in float32."""

    def __init__(self, model: ImageEncoder) -> None:
        self._model = model
        self.view = model.view
        own = model.output.type
        vector = own.value_type if pa.types.is_list(own) else own
        self.output = pa.field(
            "embeddings", pa.list_(embedding_type(vector.list_size, pa.float32()))
        )

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the `embeddings` of each view."""
        vectors = self._model.embed_images(views)  # (B, Q, D)
        ends = np.arange(len(views) + 1, dtype=np.int32) * vectors.shape[1]
        kind = self.output.type
        flat = pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=kind.value_type)
        return pa.ListArray.from_arrays(pa.array(ends), flat, type=kind)
