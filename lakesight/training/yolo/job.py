"""A whole training: from what is named to its best weights, in plain torch.

`workflows/train.py` runs it in the workers of Ray Train, `lakesight.train` in this process. Before
it `binding` takes the folder, after it `finishing` makes a model of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from lakesight.errors import UserError
from lakesight.evaluation import OPTIONS, evaluate
from lakesight.models import catalog, licences
from lakesight.models.artefact import stage
from lakesight.models.base import Licences
from lakesight.models.yolo import folder as model_folder
from lakesight.models.yolo.architecture import Architecture, Size, named
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.live import Live
from lakesight.models.yolo.network import Network, load_network
from lakesight.models.yolo.reading import NotFiniteError, YoloOptions
from lakesight.training.callbacks import CsvLog, Curves
from lakesight.training.job import Job
from lakesight.training.loop import STATE, Callback, Progress, Trainer
from lakesight.training.settings import LoopSettings
from lakesight.training.yolo.data import TURNING, Data, check_order, checked
from lakesight.training.yolo.datasets import MAX_SIDE, Pictures, Task
from lakesight.training.yolo.lake_truth import LakeLabels
from lakesight.training.yolo.recipe import YoloRecipe, frozen
from lakesight.training.yolo.settings import TrainSettings
from lakesight.training.yolo.sources import open_data


class TrainJob(TrainSettings, Job):
    """A training: the data, the network, where it starts from, and how it goes.

    `data` is labelled pictures: see `sources.open_data`. Of `weights`, layers that do not fit, such
    as the head of other classes, start from nothing.
    """

    task: Task = "detect"
    """What the network is to find."""
    size: Size = "n"
    """Of a network that starts from nothing; with `weights`, that of the weights."""
    width: float | None = Field(default=None, gt=0)
    """Factor of the channels, in place of the size's own; with `weights`, none but theirs."""
    depth: float | None = Field(default=None, gt=0)
    """Factor of the blocks; likewise."""
    max_channels: int | None = Field(default=None, ge=8)
    """The most channels of a layer, before `width`; likewise."""
    multi_label: bool = False
    """Classify only: a picture may have any number of the classes."""
    labels: LakeLabels = LakeLabels()
    """Where the data is an output of Lakesight."""


class Start(NamedTuple):
    """The network that a training begins with."""

    network: Network
    licences: Licences
    note: str
    """Where its weights are from, in one clause."""


def open_job_data(job: TrainJob) -> Data:
    """Open and check both splits; UserError where they do not fit each other, or the settings."""
    if job.augmentation.copy_paste and job.task != "segment":
        raise UserError(
            f"objects are pasted by their masks, which {job.task} does not read: leave "
            "augmentation.copy_paste out, or train --task segment"
        )
    if job.val is None and Path(job.data).suffix == ".json":
        raise UserError(f"{job.data} has no parts: name others to validate on with --val VAL.json")
    opened = partial(open_data, task=job.task, multi_label=job.multi_label, labels=job.labels)
    train = opened(job.data, "train", images=job.images)
    val = opened(job.validation, "val", images=job.val_images or job.images)
    data = checked(train, val, (job.data, job.validation))
    check_order(train, [name for name in TURNING if getattr(job.augmentation, name)])
    side = max(MAX_SIDE, job.image_size)
    return Data(*(replace(each, max_side=side) for each in data))


def start(job: TrainJob, train: Pictures) -> Start:
    """Return the network to train, by the job's seed and what it starts from."""
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers stay as they are
        torch.default_generator.manual_seed(job.seed)
        begun = _begun(job, train)
    frozen(begun.network, job)  # or this says that nothing would be left to learn
    return begun


def _begun(job: TrainJob, train: Pictures) -> Start:
    given = Licences(weights=job.licence, data=job.data_licence)
    if job.weights is None:
        return Start(Network(_architecture(job, train)), given, "from nothing")
    card = catalog.resolve(job.weights)
    if card.family != "yolo":
        raise UserError(f"{job.weights} is of the family {card.family}: only yolo can be trained")
    catalog.spec(job.weights, licences_accepted=job.allow_licence)  # or this says how to accept it
    old = load_network(Contract.model_validate(card.contract), stage(card) / WEIGHTS)
    _check_scale(job, old.architecture, card.name)
    network = Network(_architecture(job, train, old.architecture))
    taken, new = _take(network, old.state_dict(), same_labels=card.labels == train.labels)
    note = f"from {card.name}: {taken} tensors taken, {new} new"
    return Start(network, licences.both(card.licences, given), note)


def _check_scale(job: TrainJob, old: Architecture, name: str) -> None:
    """Raise UserError where a factor is asked for that the weights to start from have not."""
    for factor in ("width", "depth", "max_channels"):
        given, own = getattr(job, factor), getattr(old, factor)
        if given not in (None, own):
            raise UserError(
                f"the {factor.replace('_', ' ')} is to be {given:g}, but that of {name} is "
                f"{own:g}, and its weights fit no other: leave it out"
            )


def _architecture(job: TrainJob, train: Pictures, old: Architecture | None = None) -> Architecture:
    """Return the architecture for a task and its classes; body as in `old` where given."""
    return named(
        job.task,
        job.size,
        len(train.labels),
        num_keypoints=train.num_keypoints or 17,
        multi_label=job.multi_label,
        width=old.width if old else job.width,
        depth=old.depth if old else job.depth,
        max_channels=old.max_channels if old else job.max_channels,
    )


def _take(network: Network, tensors: Mapping[str, Tensor], *, same_labels: bool) -> tuple[int, int]:
    """Copy the tensors that fit; return how many were, and how many stay as they are.

    The class scores of other labels do not fit, even where they are as many.
    """
    own = network.state_dict()
    scores = f"model.{len(network.model) - 1}.cv3."
    fitting = {
        name: tensor
        for name, tensor in tensors.items()
        if name in own
        and own[name].shape == tensor.shape
        and (same_labels or not name.startswith((scores, f"model.{len(network.model) - 1}.linear")))
    }
    network.load_state_dict(fitting, strict=False)
    return len(fitting), len(own) - len(fitting)


class Seen(Callback):
    """Draws what is about to be seen. A failure is a warning."""

    def __init__(self, pictures: Pictures, *, multi_label: bool = False) -> None:
        self._pictures, self._multi_label = pictures, multi_label

    def on_start(self, settings: LoopSettings, folder: Path) -> None:
        """Draw the pictures, unless that was done before."""
        from lakesight.plots import LABELS, draw_data, spared  # matplotlib takes a while to import

        assert isinstance(settings, TrainSettings)
        if not (folder / LABELS).is_file():
            with spared("what is trained on"):
                draw_data(self._pictures, settings, folder, multi_label=self._multi_label)


def followers(job: TrainJob, data: Data) -> list[Callback]:
    """Return what follows every training: a table of its epochs, and plots."""
    return [CsvLog(), Seen(data.train, multi_label=job.multi_label), Curves()]


def fit(
    job: TrainJob,
    data: Data,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    device: torch.device | None = None,
) -> Progress:
    """Train, going on where the folder's checkpoint is; every process of a group calls this."""
    network = start(job, data.train).network
    view = model_folder.view_of(network.architecture, job.image_size)
    options = YoloOptions(**OPTIONS, top_k=len(data.train.labels))

    def judge(current: Network) -> dict[str, float]:
        seeing = Live(current, data.train.labels, view, options)
        try:
            return evaluate(seeing, data.val, batch_size=job.batch_size).figures()
        except NotFiniteError as error:
            raise UserError(
                f"{error}: lower the learning rate, use precision f32, or look for broken labels"
            ) from error

    state = folder / STATE
    state.mkdir(parents=True, exist_ok=True)
    recipe = YoloRecipe(network, data.train, judge, job, device)
    trainer = Trainer(recipe, job, state, callbacks)
    trainer.resume()
    return trainer.fit()
