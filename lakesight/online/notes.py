"""What the server itself names of a request, for its line in the log and its metrics."""

from starlette.types import Scope


def note(scope: Scope, **facts: str | int | float | bool | None) -> None:
    """Add to the request's line what the server itself named: a model, a number of pictures.

    What was named first stays: the model that a request is for, and not its helpers.
    """
    state = scope.setdefault("state", {})
    state["log"] = {**facts, **state.get("log", {})}
