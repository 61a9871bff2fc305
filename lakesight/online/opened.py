"""A model in memory: pictures and texts of many requests are joined to calls of it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakesight.errors import UserError
from lakesight.models import guard
from lakesight.models.base import Image, Model, ModelSpec, TextEncoder
from lakesight.online.batching import Batcher, Left
from lakesight.online.following import Follower
from lakesight.online.refusing import trace
from lakesight.online.values import plain
from lakesight.schemas import WORDS

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Vectors = npt.NDArray[np.float32]
THREADS = 2
"""Of a model that gains by it: while one batch is prepared or read, the other runs."""


class Look(NamedTuple):
    """One picture to look at, as the model wants it, and what its row would say."""

    view: Image
    width: int
    """Of the original in pixels; so is `height`."""
    height: int
    words: Mapping[str, Any] = MappingProxyType({})
    """`prompt`, `questions`, `candidates`: what a list may say of a picture (`schemas.WORDS`)."""
    found: pa.Array | None = None
    """What a detector found, one value, for a model that looks at objects."""


class Fault(NamedTuple):
    """Why a picture has no value: as a row's `error`, and whose fault it is."""

    stage: str
    type: str
    message: str
    ours: bool = False
    """Whether the server failed, and not the picture or the request."""

    def shown(self) -> dict[str, str]:
        """Return what a row's `error` holds."""
        return {"stage": self.stage, "type": self.type, "message": self.message}


def gravest(faults: Sequence[Fault]) -> Fault:
    """Return the one that a request is told of: the server's own, if there is any."""
    return next((fault for fault in faults if fault.ours), faults[0])


class Seen(NamedTuple):
    """What a model made of one picture."""

    name: str
    """Of the column."""
    value: Any
    """As Python: numbers are written as short as they can be (`values.plain`)."""
    column: pa.Array
    """The same, one value, as a row holds it."""
    error: Fault | None


@dataclass(frozen=True)
class BatchLimits:
    """How batches of a model are made."""

    max_batch: int
    max_wait_s: float
    num_threads: int | None
    """Of the network."""


@dataclass(eq=False)
class Opened:
    """A model and the threads that ask it."""

    spec: ModelSpec
    model: Model
    limits: BatchLimits
    follower: Follower
    lock: threading.Lock
    """Held while a model works that two threads may not ask at once; shared with its network."""
    max_batch: int = field(init=False)
    num_users: int = 0
    """Who may still ask it something: it is not closed before they are done."""

    def __post_init__(self) -> None:
        self.max_batch = self.limits.max_batch  # halved where memory runs out
        self._pictures = Batcher(
            self._look,
            max_batch=self.limits.max_batch,
            max_wait_s=self.limits.max_wait_s,
            num_threads=THREADS if self.model.concurrent else 1,
            name=f"see {self.spec.card.name}",
            left=self._left,
        )
        self._calls: Batcher[Callable[[], Any], Any] = Batcher(
            lambda calls: [call() for call in calls], max_batch=1, name=f"ask {self.spec.card.name}"
        )

    @property
    def is_alive(self) -> bool:
        """Whether all its threads work."""
        return all(batcher.is_alive for batcher in self._batchers())

    @property
    def num_waiting(self) -> int:
        """Pictures that no thread has taken yet."""
        return self._pictures.num_waiting

    @property
    def reads_text(self) -> bool:
        """Whether it embeds texts."""
        return isinstance(self.model, TextEncoder)

    async def see(self, look: Look) -> Seen:
        """Return what the model makes of one picture."""
        return await self._pictures.ask(look)

    async def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors `(len(texts), D)` of texts; UserError for a model that reads none.

        They are not joined with those of others: a text's last digit depends on its neighbours.
        """
        model = self.model
        if not isinstance(model, TextEncoder):
            raise UserError(f"{self.spec.card.name} sees pictures and reads no text")
        start = time.monotonic()
        vectors = await self.call(lambda: model.embed_text(texts))
        self.follower.on_texts(self.spec, len(texts), time.monotonic() - start)
        return vectors

    async def call(self, function: Callable[[], Result]) -> Result:
        """Return what a function of the model gives, in a thread, while nothing else asks it."""

        def guarded() -> Result:
            with self.lock:
                return function()

        result: Result = await self._calls.ask(guarded)
        return result

    def close(self) -> None:
        """End the threads, once what waits is answered."""
        for batcher in self._batchers():
            batcher.close()

    def _left(self, left: Left, seen: Sequence[Seen | Exception]) -> None:
        failed = [one for one in seen if isinstance(one, Exception) or one.error is not None]
        self.follower.on_batch(self.spec, left, len(failed))

    def _batchers(self) -> list[Batcher[Any, Any]]:
        return [self._pictures, self._calls]

    def _look(self, looks: list[Look]) -> Sequence[Seen]:
        """Look at pictures together; those of other detectors' objects apart, as types differ."""
        groups: dict[str, list[int]] = {}
        for place, look in enumerate(looks):
            kind = "" if look.found is None else str(look.found.type)
            groups.setdefault(kind, []).append(place)
        seen: dict[int, Seen] = {}
        with nullcontext() if self.model.concurrent else self.lock:
            for places in groups.values():
                group = self._see([looks[place] for place in places])
                seen.update(zip(places, group, strict=True))
        return [seen[place] for place in range(len(looks))]

    def _see(self, looks: Sequence[Look]) -> list[Seen]:
        rows = _rows(looks, self.spec.options.get("detections", "detections"))
        views = [look.view for look in looks]
        try:
            found = guard.see(self.model, views, rows, max_batch=self.max_batch)
        except UserError as error:
            if len(looks) > 1:  # whose it is shows when each is asked alone
                return [seen for look in looks for seen in self._see([look])]
            found = guard.Seen(pa.nulls(1, self.model.output.type), {0: error})
        self.max_batch = min(self.max_batch, found.max_batch)
        name, values = self.model.output.name, plain(found.values)
        return [
            Seen(name, value, found.values[place : place + 1], self._error(found.errors.get(place)))
            for place, value in enumerate(values)
        ]

    def _error(self, error: Exception | None) -> Fault | None:
        if error is None:
            return None
        stage, kind = self.spec.stage, type(error).__name__
        if isinstance(error, (ValueError, UserError)):  # which say what is wrong with a picture
            return Fault(stage, kind, str(error))
        log.error("%s failed: %s", self.spec.card.name, trace(error))
        message = "the model failed, which is no fault of the picture; the server's log says where"
        return Fault(stage, kind, message, ours=True)


def _rows(looks: Sequence[Look], found_name: str) -> pa.Table:
    """Return what a model is told of pictures, as a batch job's rows tell it."""
    columns = {
        "width": pa.array([look.width for look in looks], pa.int32()),
        "height": pa.array([look.height for look in looks], pa.int32()),
    }
    for word in WORDS:
        if any(look.words.get(word.name) is not None for look in looks):
            said = [look.words.get(word.name) for look in looks]
            columns[word.name] = pa.array(said, word.type)
    found = [look.found for look in looks if look.found is not None]
    if found:
        columns[found_name] = pa.concat_arrays(found)
    return pa.table(columns)
