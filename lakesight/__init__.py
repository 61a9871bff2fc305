"""The library: knows nothing of Ray, importable in a notebook."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # decoding children import this package, and must stay small
    from lakesight.lake.reader import Lake
    from lakesight.models.base import Kind, Model, RuntimeName


def load(
    name: str,
    runtime: "RuntimeName" = "auto",
    *,
    kind: "Kind | None" = None,
    **options: Any,
) -> "Model":
    """Return a model by its catalog name, or by the path or s3:// URI of a model folder.

    `kind` says what a name that does two things is wanted for: `embed`, for a classifier's
    features. `options` are those of the model's family (`lakesight models show NAME`). Show it
    pictures with `lakesight.models.look.look`. Raises UserError where the name, an option or a
    licence does not fit.
    """
    from lakesight.models import catalog

    return catalog.build(catalog.spec(name, kind, options, runtime), options.get("num_threads"))


def open(uri: str) -> "Lake":  # noqa: A001 - read as `lakesight.open`
    """Return the committed rows of the output at `uri`: a local folder or `s3://bucket/prefix`.

    Raises UserError where there is none.
    """
    from lakesight.lake.output import Output
    from lakesight.lake.reader import Lake

    return Lake(Output.open(uri))
