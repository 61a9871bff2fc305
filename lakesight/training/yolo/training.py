"""A YOLO's training, as every family's is run."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lakesight.evaluation import Evaluation
from lakesight.models.base import ModelCard
from lakesight.training.loop import Callback, Progress
from lakesight.training.yolo.finishing import finish
from lakesight.training.yolo.job import TrainJob, fit, followers, open_job_data, start


class YoloTraining:
    """See `lakesight.training.families.Training`."""

    Job = TrainJob

    def __init__(self, job: TrainJob) -> None:
        self.job, self.data = job, open_job_data(job)
        self.num_examples = len(self.data.train)

    def told(self) -> str:
        """Return on what is trained, and from where, in one line."""
        train = self.data.train
        return (
            f"{self.job.task}: {self.data.told()}, {len(train.labels)} classes; "
            f"{start(self.job, train).note}"
        )

    def followers(self) -> list[Callback]:
        """Return a table of the epochs, and plots."""
        return followers(self.job, self.data)

    def fit(
        self,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        device: torch.device | None = None,
    ) -> Progress:
        """Train, going on where the folder's checkpoint is."""
        return fit(self.job, self.data, folder, callbacks, device)

    def finish(self, folder: Path, shown: str | None = None) -> tuple[ModelCard, Evaluation]:
        """Write the best weights as a model folder."""
        return finish(self.job, self.data, folder, shown)
