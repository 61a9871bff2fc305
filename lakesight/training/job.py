"""A whole training: from what is named to a model folder, in plain torch.

`workflows/train.py` runs it in the workers of Ray Train, `lakesight.train` in this process.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from pydantic import Field, ValidationError
from torch import Tensor

from lakesight.errors import UserError
from lakesight.evaluation import OPTIONS, Evaluation, evaluate
from lakesight.files import PART, locked, write_whole
from lakesight.models import catalog, licences
from lakesight.models.artefact import stage
from lakesight.models.base import Licences, ModelCard
from lakesight.models.yolo import folder as model_folder
from lakesight.models.yolo.architecture import Architecture, Size, named
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.models.yolo.live import Live
from lakesight.models.yolo.network import Network, load_network
from lakesight.models.yolo.reading import NotFiniteError, YoloOptions
from lakesight.plots import draw_evaluation, draw_samples, spared
from lakesight.training.callbacks import CsvLog, Plots
from lakesight.training.datasets import Pictures, Task
from lakesight.training.lake_truth import LakeLabels
from lakesight.training.loop import BEST, Callback, Progress, Trainer
from lakesight.training.settings import TrainSettings
from lakesight.training.sources import open_data

STATE = "training"
"""Folder in a model folder that holds what its training left: checkpoints, curves, plots."""
SETTINGS = "settings.yaml"
OWN = "LicenseRef-own"


class TrainJob(TrainSettings):
    """A training: the data, the network, where it starts from, and how it goes."""

    data: str
    """Labelled pictures: see `sources.open_data`."""
    val: str | None = None
    """Others to validate on; the split `val` of the same unless given."""
    images: str | None = None
    """Folder of the pictures of a COCO .json; its own folder unless given."""
    val_images: str | None = None
    """The same for `val`."""
    task: Task = "detect"
    """What the network is to find."""
    size: Size = "n"
    """Of a network that starts from nothing; with `weights`, that of the weights."""
    weights: str | None = None
    """Model folder or catalog name to start from; layers that do not fit, such as the head of
    other classes, start from nothing."""
    width: float | None = Field(default=None, gt=0)
    """Factor of the channels, in place of the size's own."""
    depth: float | None = Field(default=None, gt=0)
    """Factor of the blocks, in place of the size's own."""
    max_channels: int | None = Field(default=None, ge=8)
    """The most channels of a layer, before `width`, in place of the size's own."""
    multi_label: bool = False
    """Classify only: a picture may have any number of the classes."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """What the model is called; as its folder unless given."""
    half: bool = True
    """Write the weights as float16: half the size; a value differs by about 1e-3."""
    licence: str = OWN
    """SPDX id of the new weights; those to start from keep theirs."""
    data_licence: str = OWN
    """SPDX id of the pictures and their labels."""
    allow_licence: tuple[str, ...] = ()
    """A licence of the weights to start from, as a refusal names it, that you have read and may
    use."""
    labels: LakeLabels = LakeLabels()
    """Where the data is an output of Lakesight."""


class Data(NamedTuple):
    """What a training looks at."""

    train: Pictures
    val: Pictures


class Start(NamedTuple):
    """The network that a training begins with."""

    network: Network
    licences: Licences
    note: str
    """Where its weights are from, in one clause."""


def open_job_data(job: TrainJob) -> Data:
    """Open and check both splits; UserError where they do not fit each other or the task."""
    if job.val is None and Path(job.data).suffix == ".json":
        raise UserError(f"{job.data} has no parts: name others to validate on with --val VAL.json")
    opened = partial(open_data, task=job.task, multi_label=job.multi_label, labels=job.labels)
    train = opened(job.data, "train", images=job.images)
    val = opened(job.val or job.data, "val", images=job.val_images or job.images)
    if not len(train) or not len(val):
        raise UserError(
            f"{job.data} has {len(train)} pictures to train on and {job.val or job.data} "
            f"{len(val)} to validate on: give both"
        )
    if train.labels != val.labels:
        raise UserError(
            f"the classes to train on ({', '.join(train.labels)}) are not those to validate on "
            f"({', '.join(val.labels)}): the same names in the same order are wanted"
        )
    points = train.num_keypoints, val.num_keypoints
    if all(points) and points[0] != points[1]:
        raise UserError(
            f"the objects to train on have {points[0]} keypoints, those to validate on "
            f"{points[1]}: the same points in the same order are wanted"
        )
    if job.task != "classify" and not any(len(each.class_ids) for each in train.pictures):
        raise UserError(f"{job.data} has {len(train)} pictures and not one object on them")
    return Data(train, val)


def start(job: TrainJob, train: Pictures) -> Start:
    """Return the network to train, by the job's seed and what it starts from."""
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers stay as they are
        torch.default_generator.manual_seed(job.seed)
        return _begun(job, train)


def _begun(job: TrainJob, train: Pictures) -> Start:
    given = Licences(weights=job.licence, data=job.data_licence)
    if job.weights is None:
        return Start(Network(_architecture(job, train)), given, "from nothing")
    card = catalog.resolve(job.weights)
    if card.family != "yolo":
        raise UserError(f"{job.weights} is of the family {card.family}: only yolo can be trained")
    catalog.spec(job.weights, licences_accepted=job.allow_licence)  # or this says how to accept it
    old = load_network(Contract.model_validate(card.contract), stage(card) / WEIGHTS)
    network = Network(_architecture(job, train, old.architecture))
    taken, new = _take(network, old.state_dict(), same_labels=card.labels == train.labels)
    both = Licences(
        weights=_both(card.licences.weights, job.licence),
        data=_both(card.licences.data, job.data_licence),
    )
    return Start(network, both, f"from {card.name}: {taken} tensors taken, {new} new")


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


def _both(one: str, other: str) -> str:
    """Return the SPDX expression of what is under two licences."""
    parts = dict.fromkeys([*one.split(" AND "), *other.split(" AND ")])
    return " AND ".join(parts)


def followers(job: TrainJob, data: Data) -> list[Callback]:
    """Return what follows every training: a table of its epochs, and plots."""
    return [CsvLog(), Plots(data.train, multi_label=job.multi_label)]


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
    trainer = Trainer(network, data.train, judge, job, state, callbacks, device)
    trainer.resume()
    return trainer.fit()


@contextmanager
def held(folder: Path, shown: str | None = None) -> Iterator[None]:
    """Keep other trainings out of the folder of a model, which `shown` names in errors.

    Raises UserError where another one is in it, or something else.
    """
    _check(folder, shown)
    state = folder / STATE
    with locked(state, f"another run trains in {shown or folder}: wait until it is done"):
        for left in state.glob(f".*{PART}"):  # by one that was killed
            left.unlink()
        yield


def bind(job: TrainJob, folder: Path, shown: str | None = None) -> bool:
    """Write the settings down, or compare with those that are there; return whether it is done.

    `shown` names the folder in errors. Raises UserError where the folder holds a training of other
    settings, or something else.
    """
    _check(folder, shown)
    path = folder / STATE / SETTINGS
    given = job.model_dump(mode="json")
    if path.is_file():
        known = _known(path)
        other = [name for name, value in given.items() if known[name] != value]
        if other:
            changes = "; ".join(f"{one}: {known[one]!r}, now {given[one]!r}" for one in other)
            raise UserError(
                f"{shown or folder} holds a training with other settings ({changes}): take them, "
                "or name a new folder"
            )
        return (folder / "card.json").is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, yaml.safe_dump(given, sort_keys=False))
    return False


def _check(folder: Path, shown: str | None) -> None:
    """Raise UserError unless this is the folder of a training, or may become one."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder for the model, got the file {shown or folder}")
    is_bound = (folder / STATE / SETTINGS).is_file()
    if not is_bound and folder.exists() and any(one.name != STATE for one in folder.iterdir()):
        raise UserError(f"{shown or folder} is not empty: name a new folder")


def _known(path: Path) -> dict[str, Any]:
    """Return the settings of a training; those that it is too old to know have their defaults."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainJob.model_validate(written).model_dump(mode="json")
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"{path} is of another version of Lakesight: {error}") from error


def model_name(place: str) -> str:
    """Return what a model is called after its folder or prefix, as a card may name it."""
    last = place.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "trained"


def finish(
    job: TrainJob, data: Data, folder: Path, shown: str | None = None
) -> tuple[ModelCard, Evaluation]:
    """Write the best weights as a model folder, judged as `annotate` will see through them.

    The model is called as `job.name` says, or as the folder, or as `shown` calls that.
    """
    begun = start(job, data.train)
    state = folder / STATE
    if not (state / BEST).is_file():
        raise UserError(
            f"{shown or folder} has no weights, though they are trained: the output must be a "
            "folder that all machines share, or an s3:// prefix"
        )
    best = torch.load(state / BEST, weights_only=True, map_location="cpu")
    dtype = torch.float16 if job.half else torch.float32
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in best["network"].items()
    }
    draft = state / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    architecture = begun.network.architecture
    card = model_folder.save(
        draft,
        tensors,
        Contract(**architecture.model_dump()),
        name=job.name or model_name(shown or str(folder.resolve())),
        labels=data.train.labels,
        view=model_folder.view_of(architecture, job.image_size),
        licences=begun.licences,
        provenance=f"Trained by lakesight train on {len(data.train):,} pictures of {job.data}, "
        f"{begun.note}, seed {job.seed}; {STATE}/{SETTINGS} has every setting. Its metrics are of "
        f"the {len(data.val):,} pictures of {job.val or job.data} that chose the best epoch.",
    )
    options = OPTIONS | {"top_k": len(data.train.labels)}
    own = licences.parts(card.licences.weights)  # what it began with was accepted at the start
    model = catalog.build(catalog.spec(str(draft), options=options, licences_accepted=own))
    result = evaluate(model, data.val, batch_size=job.batch_size)
    write_whole(state / "evaluation.json", json.dumps(result.to_dict(), indent=2) + "\n")
    figures = {name: round(value, 4) for name, value in result.figures().items()}
    card = card.model_copy(update={"metrics": figures})
    model_folder.write_card(draft, card)
    for name in (WEIGHTS, "card.json"):  # the card last: a folder with one is a whole model
        (draft / name).replace(folder / name)
    draft.rmdir()
    with spared("the evaluation"):
        draw_evaluation(result.results, state)
    with spared("samples"):
        draw_samples(model, data.val, state)
    return card, result
