"""Whether an export is as good as its weights: on every engine of this machine that reads it."""

import copy
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.evaluation import OPTIONS, evaluate
from lakesight.exporting import onnx_nms, parity
from lakesight.exporting.base import Source, first_line
from lakesight.exporting.parity import Differences
from lakesight.exporting.pictures import Samples
from lakesight.models.base import Artefact, Frozen, ModelCard, Parity
from lakesight.models.yolo.model import OnRuntime, in_order, network_of
from lakesight.models.yolo.reading import Reader, YoloOptions
from lakesight.runtimes.base import Runtime, RuntimeOptions, Tensors, place
from lakesight.runtimes.engines import Engine, readers

log = logging.getLogger(__name__)


class ExportError(UserError):
    """A format that cannot be had, or is not what its weights are; the message says by how much."""


class Measured(Frozen):
    """An export on one engine."""

    num_seen: int
    """Anchors of the views that see something: see `parity.of_seen`."""
    largest: Differences
    """Of those anchors."""
    largest_anywhere: Differences
    """Of all anchors."""
    map_before: float | None = None
    map_after: float | None = None


class Judge:
    """Compares exports of one model with its weights on torch, whose answers are kept."""

    def __init__(
        self, card: ModelCard, source: Source, samples: Samples, max_map_loss: float
    ) -> None:
        self.card, self.source, self.samples = card, source, samples
        self.max_map_loss = max_map_loss
        self._maps: dict[str, float] = {}

    def judge(self, artefact: Artefact, folder: Path) -> tuple[Parity | None, dict[str, Any]]:
        """Return the verdict on an export in `folder`, and by engine all that was measured.

        None where no engine of this machine reads it. Raises ExportError where an export in f32
        differs by more than `parity` allows, where its objects are others, where mAP falls by more
        than `max_map_loss` or nobody could tell, and for whatever an engine fails with.
        """
        engines = [engine for engine in readers(artefact.main) if engine.here()]
        found = dict(self._tried(engine, artefact, folder) for engine in engines)
        if not found:
            self._check_lossless(artefact)
            return None, {}
        told = {name: measured.model_dump(exclude_none=True) for name, measured in found.items()}
        return self._worst(list(found.values())), told

    def _check_lossless(self, artefact: Artefact) -> None:
        if artefact.precision != "f32" and self.max_map_loss < 1:
            raise ExportError(
                f"nothing on this machine runs {artefact.name}, so what it loses cannot be told: "
                "take it as it is with --max-map-loss 1"
            )

    def _tried(self, engine: Engine, artefact: Artefact, folder: Path) -> tuple[str, Measured]:
        try:
            return self._on(engine, artefact, folder)
        except ExportError:
            raise
        except Exception as error:  # every engine has its own exceptions
            log.debug("%s on %s", artefact.name, engine.runtime, exc_info=True)
            raise ExportError(
                f"{artefact.name} fails on {engine.runtime} on {engine.device}: {first_line(error)}"
            ) from error

    def _on(self, engine: Engine, artefact: Artefact, folder: Path) -> tuple[str, Measured]:
        options = RuntimeOptions.model_validate({"precision": artefact.precision})
        network = network_of(self.card, artefact)
        if artefact.suppressed:
            network = network.model_copy(update={"outputs": (*self.source.outputs, onnx_nms.RAW)})
        runtime = engine.open(folder / artefact.main, network, options)
        name = f"{artefact.name} on {place(runtime)}"
        tensors = self._tensors(name, runtime, artefact)
        contract = self.source.contract
        num_seen, seen = parity.of_seen(contract, self._wanted, tensors)
        every = parity.of_tensors(contract, self._wanted, tensors)
        if artefact.precision == "f32" and (beyond := every.beyond()):
            raise ExportError(f"{name} does not give what the weights give: {beyond}")
        before, after = self._map(name, runtime, artefact)
        return place(runtime), Measured(
            num_seen=num_seen, largest=seen, largest_anywhere=every, map_before=before,
            map_after=after,
        )  # fmt: skip

    def _tensors(self, name: str, runtime: Runtime, artefact: Artefact) -> Tensors:
        """Return what the export gives, in the shapes of the weights' own."""
        tensors = in_order(runtime.infer(self.samples.views))
        try:
            if artefact.suppressed:
                raw = tensors.pop(f"output_{len(self.source.outputs)}")
                self._check_objects(tensors, raw)
                tensors["output_0"] = raw
            parity.check(self._wanted, tensors)
        except ValueError as error:
            raise ExportError(f"{name} does not give what the weights give: {error}") from error
        return tensors

    def _check_objects(self, tensors: Tensors, raw: Any) -> None:
        """Raise ValueError unless NMS in the file leaves what ours leaves of the same tensor."""
        options = self._options(suppressed=True)
        kept = self._reader(options).kept(raw)
        found = self._reader(options, suppressed=True).kept(tensors["output_0"])
        if beyond := parity.of_objects(self.source.contract, kept, found).beyond():
            raise ValueError(beyond)

    def _map(
        self, name: str, runtime: Runtime, artefact: Artefact
    ) -> tuple[float, float] | tuple[None, None]:
        """Return mAP of the weights and of the export; None where nothing is known of the truth."""
        if self.samples.labelled is None:
            return None, None
        options = self._options(suppressed=artefact.suppressed)
        before = self._map_before(options)
        if before == 0 and artefact.precision != "f32" and self.max_map_loss < 1:
            raise ExportError(
                f"the weights find nothing of what is labelled in {self.samples.what}, so what "
                f"{artefact.name} loses cannot be told: train them longer, label pictures by their "
                "classes, or take it untold with --max-map-loss 1"
            )
        reader = self._reader(options, suppressed=artefact.suppressed)
        after = evaluate(OnRuntime(reader, runtime), self.samples.labelled).fitness
        if before - after > self.max_map_loss:
            raise ExportError(
                f"{name} loses {before - after:.4f} of mAP50-95 ({before:.4f} to {after:.4f} on "
                f"{self.samples.what}), more than {self.max_map_loss} (--max-map-loss)"
            )
        return before, after

    def _map_before(self, options: YoloOptions) -> float:
        key = options.model_dump_json()
        if key not in self._maps:
            assert self.samples.labelled is not None
            looking = OnRuntime(self._reader(options), self._weights)
            self._maps[key] = evaluate(looking, self.samples.labelled).fitness
        return self._maps[key]

    def _options(self, *, suppressed: bool) -> YoloOptions:
        """Return the thresholds of the file, or those that a model is judged with."""
        values: Mapping[str, Any] = OPTIONS
        if suppressed:
            values = self.source.nms.model_dump(include=set(OPTIONS))
        return YoloOptions.model_validate({**values, "top_k": max(5, len(self.source.labels))})

    def _reader(self, options: YoloOptions, *, suppressed: bool = False) -> Reader:
        kind = onnx_nms.SuppressedReader if suppressed else Reader
        return kind(self.source.contract, self.source.labels, self.source.view, options)

    def _worst(self, found: Sequence[Measured]) -> Parity:
        """Return what the engine that is farthest off gives."""
        boxes = [one.largest.box_px for one in found]
        others = [one.largest.other for one in found]
        maps = [one.map_after for one in found if one.map_after is not None]
        return Parity(
            num_views=len(self.samples.views),
            num_seen=found[0].num_seen,
            box_px=max((one.absolute for one in boxes if one is not None), default=None),
            score=max(one.largest.score.absolute for one in found),
            other=max((one for one in others if one is not None), default=None),
            map_before=found[0].map_before,
            map_after=min(maps, default=None),
        )

    @cached_property
    def _weights(self) -> Runtime:
        from lakesight.runtimes.torch import TorchModule

        # a runtime may move its module to a GPU: what is exported stays where it is
        return TorchModule(
            copy.deepcopy(self.source.module), network_of(self.card), RuntimeOptions()
        )

    @cached_property
    def _wanted(self) -> Tensors:
        return self._weights.infer(self.samples.views)
