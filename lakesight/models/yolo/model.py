"""The model family `yolo`: boxes, masks, keypoints, rotated boxes or classes of pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lakesight.models.artefact import read_labels
from lakesight.models.base import Artefact, Image, ModelCard, RuntimeName
from lakesight.models.exported import Way, able_ways, main_file, open_first, others, why
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.reading import Reader, YoloOptions
from lakesight.runtimes.base import Network, Runtime, RuntimeOptions, Tensors, place

log = logging.getLogger(__name__)


class OnRuntime:
    """A network on some runtime, and what its tensors say: a `look.Looking`."""

    def __init__(self, reader: Reader, runtime: Runtime) -> None:
        self.reader = reader
        self.runtime = runtime
        self.view = reader.view
        self.output = reader.output

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects, or classes, of every picture, of type `output.type`."""
        if not views:
            return pa.array([], self.output.type)
        return self.reader.read(in_order(self.runtime.infer(views)), rows)


class Yolo:
    """A network of `lakesight.models.yolo.network`: its weights on torch, or an export of them."""

    Options = YoloOptions

    def __init__(
        self, card: ModelCard, folder: Path, options: YoloOptions, runtime: RuntimeName
    ) -> None:
        assert card.view is not None
        self.card = card
        self.view = card.view
        reader = reader_of(card, folder, options)
        self.output = reader.output
        able = able_ways(card, runtime, options.precision)
        if stale := others(card):
            log.warning(
                "%s: %s left out, made of other weights or at another view: export again",
                card.name,
                ", ".join(stale),
            )
        way, opened = open_first(able, lambda one: open_way(one, card, folder, options))
        self._network = OnRuntime(reader, opened)
        self.runs_on = place(opened)
        self.concurrent = way.engine.runtime != "torch"
        log.info(
            "%s runs as %s on %s (%s): %s",
            card.name,
            way.artefact.name if way.artefact else "its weights",
            self.runs_on,
            options.precision,
            why(way, runtime),
        )

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return the objects, or classes, of every picture, of type `output.type`."""
        return self._network.predict(views, rows)


def reader_of(card: ModelCard, folder: Path, options: YoloOptions) -> Reader:
    """Return what reads the tensors of a card's network."""
    assert card.view is not None
    contract = Contract.model_validate(card.contract)
    return Reader(contract, read_labels(card, folder), card.view, options)


def open_way(way: Way, card: ModelCard, folder: Path, options: RuntimeOptions) -> Runtime:
    """Return a card's network on an engine; `folder` holds the weights."""
    network = network_of(card, way.artefact)
    if way.artefact is not None:
        return way.engine.open(main_file(card, way.artefact), network, options)
    from lakesight.models.yolo.network import check_size, for_inference, load_network
    from lakesight.runtimes.torch import TorchModule

    check_size(network.height, network.width)
    contract = Contract.model_validate(card.contract)
    weights = load_network(contract, folder / WEIGHTS)
    return TorchModule(for_inference(weights), network, options, way.engine.device)


def network_of(card: ModelCard, artefact: Artefact | None = None) -> Network:
    """Return how pixels go into a card's network; every file of it takes 0..1."""
    assert card.view is not None
    return Network(
        width=card.view.width,
        height=card.view.height,
        layout=artefact.layout if artefact else "NCHW",
        scale=(255.0,) * 3,
    )


def in_order(tensors: Tensors) -> Tensors:
    """Return the tensors as `Reader` wants them called; engines keep the order, not the names."""
    return {f"output_{number}": tensor for number, tensor in enumerate(tensors.values())}
