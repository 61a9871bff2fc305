"""A network in memory that answers as its model folder will: for the validation of a training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from lakesight.media.view import ImageView
from lakesight.models.base import Image
from lakesight.models.yolo.folder import Contract
from lakesight.models.yolo.network import Inference, Network
from lakesight.models.yolo.reading import Reader, YoloOptions


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation, and then each of its parts into the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class Live:
    """Looks at pictures with a network as it is now; its weights may go on changing.

    Values are those of the saved model up to rounding: pictures share a batch, and nothing is
    folded. The network is left in the mode that it is in.
    """

    def __init__(
        self,
        network: Network,
        labels: tuple[str, ...],
        view: ImageView,
        options: YoloOptions,
    ) -> None:
        contract = Contract(**network.architecture.model_dump())
        self._reader = Reader(contract, labels, view, options)
        self._inference = Inference(network)
        self.view = view
        self.output = self._reader.output

    @torch.inference_mode()
    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return one value of type `output.type` per view; see `base.Model.predict`."""
        if not views:
            return pa.array([], self.output.type)
        device = next(self._inference.parameters()).device
        pixels = torch.from_numpy(np.stack(views)).to(device).permute(0, 3, 1, 2).float() / 255
        with _evaluating(self._inference):
            found = self._inference(pixels)
        tensors = {f"output_{number}": one.cpu().numpy() for number, one in enumerate(found)}
        return self._reader.read(tensors, rows)
