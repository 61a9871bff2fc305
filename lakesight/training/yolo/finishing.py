"""The end of a training: its best weights become a model folder, judged and drawn."""

import json
import shutil
from pathlib import Path

import torch

from lakesight.errors import UserError
from lakesight.evaluation import OPTIONS, Evaluation, evaluate
from lakesight.files import write_whole
from lakesight.models import catalog, licences
from lakesight.models.base import Model, ModelCard
from lakesight.models.yolo import folder as model_folder
from lakesight.models.yolo.folder import WEIGHTS, Contract
from lakesight.plots import draw_evaluation, draw_samples, spared
from lakesight.training.binding import model_name
from lakesight.training.loop import BEST, SETTINGS, STATE
from lakesight.training.yolo.data import Data
from lakesight.training.yolo.job import TrainJob, start


def finish(
    job: TrainJob, data: Data, folder: Path, shown: str | None = None
) -> tuple[ModelCard, Evaluation]:
    """Write the best weights as a model folder, judged as `annotate` will see through them.

    The model is called as `job.name` says, or as the folder, or as `shown` calls that.
    """
    state = folder / STATE
    if not (state / BEST).is_file():
        raise UserError(
            f"{shown or folder} has no weights, though they are trained: the output must be a "
            "folder that all machines share, or an s3:// prefix"
        )
    draft = state / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    name = job.name or model_name(shown or str(folder.resolve()))
    card = _written(job, data, state / BEST, draft, name)
    model = _opened(card, draft, top_k=len(data.train.labels))
    result = evaluate(model, data.val, batch_size=job.batch_size)
    write_whole(state / "evaluation.json", json.dumps(result.to_dict(), indent=2) + "\n")
    figures = {figure: round(value, 4) for figure, value in result.figures().items()}
    card = card.model_copy(update={"metrics": figures})
    _published(card, draft, folder)
    with spared("the evaluation"):
        draw_evaluation(result.results, state)
    with spared("samples"):
        draw_samples(model, data.val, state)
    return card, result


def _written(job: TrainJob, data: Data, best: Path, draft: Path, name: str) -> ModelCard:
    """Write the best weights as a model folder that nobody looks for yet."""
    begun = start(job, data.train)
    learnt = torch.load(best, weights_only=True, map_location="cpu")["network"]
    dtype = torch.float16 if job.half else torch.float32
    tensors = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in (begun.network.state_dict() | learnt).items()
    }
    architecture = begun.network.architecture
    return model_folder.save(
        draft,
        tensors,
        Contract(**architecture.model_dump(), keypoints=data.train.keypoint_names),
        name=name,
        labels=data.train.labels,
        view=model_folder.view_of(architecture, job.image_size),
        licences=begun.licences,
        provenance=f"Trained by lakesight train on {len(data.train):,} pictures of {job.data}, "
        f"{begun.note}, seed {job.seed}; {STATE}/{SETTINGS} has every setting. Its metrics are of "
        f"the {len(data.val):,} pictures of {job.validation} that chose the best epoch.",
    )


def _opened(card: ModelCard, draft: Path, top_k: int) -> Model:
    """Return the model as it will be used, with the options that it is judged with."""
    own = licences.parts(card.licences.weights)  # what it began with was accepted at the start
    options = OPTIONS | {"top_k": top_k}
    return catalog.build(catalog.spec(str(draft), options=options, licences_accepted=own))


def _published(card: ModelCard, draft: Path, folder: Path) -> None:
    """Make a model of the folder: the card comes last, a folder with one is a whole model."""
    model_folder.write_card(draft, card)
    for name in (WEIGHTS, "card.json"):
        (draft / name).replace(folder / name)
    draft.rmdir()
