"""The model family `yolo`: boxes, masks, keypoints, rotated boxes or classes of pictures."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lakesight.models.artefact import read_labels
from lakesight.models.base import Image, ModelCard, RuntimeName
from lakesight.models.pretrained import require_torch
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.network import check_size, for_inference, load_network
from lakesight.models.yolo.reading import Reader, YoloOptions
from lakesight.runtimes.base import Network, place
from lakesight.runtimes.torch import TorchModule


class Yolo:
    """A network of `lakesight.models.yolo.network` with its weights, on torch."""

    Options = YoloOptions
    concurrent = False

    def __init__(
        self, card: ModelCard, folder: Path, options: YoloOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        require_torch(card, runtime)
        check_size(card.view.height, card.view.width)
        self.card = card
        self.view = card.view
        contract = Contract.model_validate(card.contract)
        self._reader = Reader(contract, read_labels(card, folder), card.view, options)
        self.output = self._reader.output
        self._runtime = _open(contract, folder / WEIGHTS, card, options)
        self.runs_on = place(self._runtime)

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects, or classes, of every picture, of type `output.type`."""
        if not views:
            return pa.array([], self.output.type)
        return self._reader.read(self._runtime.infer(views), rows)


def _open(contract: Contract, path: Path, card: ModelCard, options: YoloOptions) -> TorchModule:
    """Return the network with its weights, folded, taking uint8."""
    assert card.view is not None
    network = Network(
        width=card.view.width, height=card.view.height, layout="NCHW", scale=(255.0,) * 3
    )
    return TorchModule(for_inference(load_network(contract, path)), network, options)
