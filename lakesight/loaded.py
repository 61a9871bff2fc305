"""A model in Python: `lakesight.load`. It looks at pictures, is judged, trained and exported.

The model of its family, which actors hold too, is `LoadedModel.model`; its `predict` takes views
that are already drawn (`lakesight.models.base.Model`). This one takes pictures of any kind.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from lakesight.errors import UserError, first_mistake
from lakesight.lake.uris import is_s3, local_path
from lakesight.models import catalog
from lakesight.models.base import (
    Frozen,
    Kind,
    Model,
    ModelCard,
    ModelSpec,
    RuntimeName,
    TextEncoder,
    TextReader,
)
from lakesight.models.base import Image as View
from lakesight.models.families import FAMILIES, family_of
from lakesight.models.features import FeatureExtractor, Features, Level, Mode
from lakesight.models.look import BATCH, Picture, distinct, look_ahead
from lakesight.processors import ImageProcessor, TextProcessor, several, several_texts
from lakesight.results import Results

if TYPE_CHECKING:
    from lakesight.evaluation import Evaluation
    from lakesight.exporting.run import Done
    from lakesight.metrics import Bootstrap
    from lakesight.metrics.language.java import JavaMetric
    from lakesight.training.blip2.texts import SceneCaptions
    from lakesight.training.loop import Callback
    from lakesight.training.yolo.lake_truth import LakeLabels
    from lakesight.training.yolo.sources import Split

Settings = TypeVar("Settings", bound=Frozen)


class LoadedModel:
    """A model, ready to look."""

    def __init__(self, name: str, spec: ModelSpec, options: Mapping[str, Any]) -> None:
        """Build the model; `options` are those that were asked for by name."""
        self.name = name
        """What it was loaded by: a catalog name, a folder, a uri."""
        self.spec = spec
        self._options = dict(options)
        self.model: Model = catalog.build(spec)
        self.image_processor = ImageProcessor(self.model.view)
        """Pictures to the array that `model` takes."""
        self.text_processor = (
            TextProcessor(self.model) if isinstance(self.model, TextReader) else None
        )
        """Texts to tokens; None for a model that reads none."""

    def __repr__(self) -> str:
        return f"<LoadedModel {self.card.name}: {self.card.kind}, {self.model.runs_on}>"

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self.spec.card

    def predict(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        batch_size: int = BATCH,
        **columns: pa.Array,
    ) -> Results:
        """Look at one picture or many: paths, uris, bytes, Pillow images, `(H, W, 3)` uint8 arrays.

        `columns` are what other models said of them: `pose.predict(pictures,
        detections=found.column)`. Raises UserError for a picture that cannot be read, and for what
        a column says that the model cannot take, such as an empty prompt.
        """
        every = several(pictures)
        try:
            parts = list(look_ahead(self.model, every, batch_size, **columns))
        except UserError:
            raise
        except ValueError as error:  # what a row of `annotate` would hold as its error
            raise UserError(str(error)) from error
        nothing = pa.array([], self.model.output.type)
        column = pa.concat_arrays([nothing, *(found for found, _ in parts)])
        sizes_wh = [size for _, sizes in parts for size in sizes]
        return Results(column, self.model.output, every, sizes_wh)

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return `(len(texts), dim)` vectors in the space of the model's pictures.

        Raises UserError for a model that knows no text.
        """
        if not isinstance(self.model, TextEncoder):
            raise UserError(
                f"{self.card.name} embeds no text: load an image-text model, such as a CLIP"
            )
        return self.model.embed_text(texts)

    def extract_features(
        self,
        images: Picture | Sequence[Picture] = (),
        texts: str | Sequence[str] = (),
        mode: Mode = "image",
        level: Level = "projected",
    ) -> Features:
        """Return what an image-text model makes of pictures, of texts, or of pairs of both.

        Pictures of any kind; modes, levels and shapes as `ImageText.extract_features` has them.
        Raises UserError for another model, and for what it has not.
        """
        model = self._extractor()
        return model.extract_features(self._views(images), several_texts(texts), mode, level)

    def match(
        self, images: Picture | Sequence[Picture], texts: str | Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return the probability `(N,)` that each of N pictures and its text belong together (ITM).

        A picture that is given several times is drawn once, and in a row seen once:
        `match([picture] * 3, texts)`.
        Raises UserError for a model that never looks at both together, and for uneven pairs.
        """
        model = self._extractor()
        pictures, rows = distinct(several(images))
        views = self._views(pictures)
        return model.match([views[row] for row in rows], several_texts(texts))

    def answer(
        self,
        pictures: Picture | Sequence[Picture],
        questions: str | Sequence[str],
        candidates: Sequence[str] | None = None,
        *,
        batch_size: int = BATCH,
    ) -> Results:
        """Ask the same questions about every picture; `candidates` are answers to choose from.

        A result's value is a list of question, answer and score, in the order of the questions.
        Each picture's own questions are a column of `predict`. Raises UserError for a model that
        answers none.
        """
        if self.card.kind != "answer":
            raise UserError(
                f"{self.card.name} was loaded to {self.card.kind}, and answers nothing: load a "
                'BLIP-2 with kind="answer"'
            )
        every, asked = several(pictures), several_texts(questions)
        given = {"questions": asked} | ({} if candidates is None else {"candidates": candidates})
        columns = {
            name: pa.array([list(texts)] * len(every), pa.list_(pa.string()))
            for name, texts in given.items()
        }
        return self.predict(every, batch_size=batch_size, **columns)

    def _extractor(self) -> FeatureExtractor:
        if not isinstance(self.model, FeatureExtractor):
            raise UserError(
                f"{self.card.name} gives no features of pictures and texts: load an image-text "
                "model, such as a CLIP or a BLIP-2 that retrieves"
            )
        return self.model

    def _views(self, pictures: Picture | Sequence[Picture]) -> list[View]:
        return list(self.image_processor(pictures))

    def evaluate(
        self,
        data: str,
        *,
        split: "Split" = "val",
        task: str | None = None,
        images: str | None = None,
        labels: "LakeLabels | None" = None,
        multi_label: bool = False,
        captions: "SceneCaptions" = "captions",
        extra: "Sequence[JavaMetric]" = (),
        rerank: int | None = None,
        batch_size: int = BATCH,
        bootstrap: "bool | Bootstrap" = False,
        slice: Sequence[str] = (),  # noqa: A002 - as the command has it
    ) -> "Evaluation":
        """Return how good the model is on labelled pictures: as `lakesight evaluate`.

        It looks with the options of an evaluation, but for those that it was loaded with. A `task`
        that is for another of its kinds judges it as that.
        """
        from lakesight import evaluation
        from lakesight.metrics import Bootstrap

        judged = evaluation.open_judged(
            self.spec,
            self._options,
            data,
            split,
            task,
            images=images,
            labels=labels,
            multi_label=multi_label,
            captions=captions,
            extra=tuple(extra),
            rerank=rerank,
        )
        draws = Bootstrap() if bootstrap is True else bootstrap or None
        return evaluation.evaluate(judged.model, judged.data, draws, slice, batch_size=batch_size)

    def train(
        self, data: str, output: str, *, callbacks: "Sequence[Callback]" = (), **settings: Any
    ) -> "LoadedModel":
        """Train on from these weights, and return the new model, whose folder is `output`.

        The task is what the model's family is trained for unless given; of a YOLO it is the
        model's, as is the image size. See `train`. Raises UserError for a family that nothing
        trains.
        """
        from lakesight.training.families import job_type

        own = {
            "weights": self.name,
            "allow_licence": self.spec.licences_accepted,
            "task": settings.get("task") or self._trained_for(),
            "image_size": self.model.view.width,
            "multi_label": self.card.contract.get("multi_label", False),
        }
        known = job_type(own["task"]).model_fields
        fitting = {name: value for name, value in own.items() if name in known}
        return train(data, output, callbacks=callbacks, **fitting | settings)

    def _trained_for(self) -> str:
        task = family_of(self.card).trains(self.card)
        if task is None:
            trained = [name for name, one in FAMILIES.items() if one.trains(self.card)]
            raise UserError(
                f"{self.card.name} is of the family {self.card.family}, which cannot be trained "
                f"here: {', '.join(trained)} can"
            )
        return task

    def export(self, format: str, output: str | None = None, **options: Any) -> "Done":  # noqa: A002
        """Write the weights in another engine's format into the model's folder, and judge them.

        `format` as `lakesight export --list` names it, such as `openvino-int8`; `output` becomes a
        copy of the folder; `options` are those of `ExportOptions`. Load the folder again to run it.
        """
        from lakesight.exporting.options import ExportOptions
        from lakesight.exporting.run import export

        checked = validated(ExportOptions, options)
        (done,) = export(self.name, [format], output, checked)
        return done


def train(
    data: str, output: str, *, callbacks: "Sequence[Callback]" = (), **settings: Any
) -> LoadedModel:
    """Train in this process, and return the model, whose folder is `output`.

    `settings` are those of `lakesight train`, by the same names: `task`, `size`, `weights`,
    `epochs` … (`lakesight.training.yolo.job.TrainJob`, `lakesight.training.blip2.job`). Called
    again, it goes on where it was, or is done.
    `callbacks` follow it: `lakesight.training.loop.Callback`.
    """
    import torch

    from lakesight.training.binding import bind, held
    from lakesight.training.families import job_type, open_training

    job = validated(job_type(settings.get("task", "detect")), {"data": data, **settings})
    if is_s3(output):
        raise UserError(f"{output} is a bucket: train into a folder, or by `lakesight train`")
    training = open_training(job)
    folder = local_path(output)
    with held(folder):
        if not bind(job, folder):
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            training.fit(folder, [*training.followers(), *callbacks], device)
            training.finish(folder)
    return load(output, allow_licence=job.allow_licence)


def load(
    name: str,
    runtime: RuntimeName = "auto",
    *,
    kind: Kind | None = None,
    allow_licence: Sequence[str] = (),
    **options: Any,
) -> LoadedModel:
    """See `lakesight.load`."""
    return LoadedModel(name, catalog.spec(name, kind, options, runtime, allow_licence), options)


def validated(settings: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Return settings; UserError for one that is unknown or of another kind."""
    try:
        return settings.model_validate(dict(given))
    except ValidationError as error:
        given_value = error.errors()[0]["input"]
        raise UserError(
            f"{first_mistake(error, settings.model_fields)} (got {given_value!r})"
        ) from error
