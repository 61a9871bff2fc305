"""Run a model over a batch: one bad picture, or too little memory, costs only what it must."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from lakesight.errors import UserError
from lakesight.models.base import Image, Model


@dataclass
class Seen:
    """What a model made of a batch."""

    values: pa.Array
    """One value per row; null where the model failed."""
    errors: dict[int, Exception] = field(default_factory=dict)
    """Row number to what went wrong."""
    max_batch: int = sys.maxsize
    """The largest batch that is safe from now on: smaller than before where memory ran out."""
    seconds: float = 0.0


def see(model: Model, views: Sequence[Image], rows: pa.Table, *, max_batch: int) -> Seen:
    """Return one value per view, in calls of at most `max_batch`, halved around whatever fails.

    A row that fails alone gets null and its error; a batch too large for memory is run in halves.
    Raises `UserError` as it is: that is a mistake in the job, not in a picture.
    """
    start = time.perf_counter()
    parts: list[Seen] = []
    done = 0
    while done < len(views):
        batch = views[done : done + max_batch]
        parts.append(_see(model, batch, rows.slice(done, max_batch)))
        done += len(batch)
        max_batch = min(max_batch, parts[-1].max_batch)
    seen = _join(parts)
    seen.seconds = time.perf_counter() - start
    return seen


def _see(model: Model, views: Sequence[Image], rows: pa.Table) -> Seen:
    try:
        values = model.predict(views, rows)
    except UserError:
        raise
    except Exception as error:
        max_batch = sys.maxsize
        if is_out_of_memory(error):
            max_batch = max(1, len(views) // 2)
            _free_device_memory()
        if len(views) == 1:
            return Seen(pa.nulls(1, model.output.type), {0: error}, max_batch)
    else:
        assert len(values) == len(views), f"{model.card.name}: {len(values)} != {len(views)}"
        assert values.type == model.output.type, f"{model.card.name}: {values.type}"
        return Seen(values)
    middle = len(views) // 2
    seen = _join(
        [
            _see(model, views[:middle], rows.slice(0, middle)),
            _see(model, views[middle:], rows.slice(middle)),
        ]
    )
    seen.max_batch = min(seen.max_batch, max_batch)
    return seen


def _join(parts: Sequence[Seen]) -> Seen:
    """Return several parts, in row order, as one."""
    errors: dict[int, Exception] = {}
    start = 0
    for part in parts:
        errors |= {row + start: error for row, error in part.errors.items()}
        start += len(part.values)
    values = pa.concat_arrays([part.values for part in parts])
    return Seen(values, errors, min(part.max_batch for part in parts))


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a runtime ran out of memory; each of them has its own exception for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return "out of memory" in text or "failed to allocate memory" in text


def _free_device_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
