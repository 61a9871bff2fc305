"""The library: knows nothing of Ray, importable in a notebook."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # decoding children import this package, and must stay small
    from collections.abc import Sequence

    from lakesight.lake.reader import Lake
    from lakesight.loaded import LoadedModel
    from lakesight.models.base import Kind, RuntimeName
    from lakesight.training.loop import Callback


def load(
    name: str,
    runtime: "RuntimeName" = "auto",
    *,
    kind: "Kind | None" = None,
    allow_licence: "Sequence[str]" = (),
    **options: Any,
) -> "LoadedModel":
    """Return a model by its catalog name, or by the path or s3:// URI of a model folder.

    `kind` says what a name that does two things is wanted for: `embed`, for a classifier's
    features; `allow_licence` names licences that you have read and may use, as a refusal names
    them. `options` are those of the model's family (`lakesight models show NAME`). Raises UserError
    where the name, an option or a licence does not fit.
    """
    from lakesight import loaded

    return loaded.load(name, runtime, kind=kind, allow_licence=allow_licence, **options)


def train(
    data: str, output: str, *, callbacks: "Sequence[Callback]" = (), **settings: Any
) -> "LoadedModel":
    """Train a YOLO in this process, and return the model; its folder is `output`.

    `settings` are those of `lakesight train`, by the same names. Raises UserError where one does
    not fit, or the data has a mistake. `LoadedModel.train` begins with a model's weights.
    """
    from lakesight import loaded

    return loaded.train(data, output, callbacks=callbacks, **settings)


def open(uri: str) -> "Lake":  # noqa: A001 - read as `lakesight.open`
    """Return the committed rows of the output at `uri`: a local folder or `s3://bucket/prefix`.

    Raises UserError where there is none.
    """
    from lakesight.lake.output import Output
    from lakesight.lake.reader import Lake

    return Lake(Output.open(uri))
