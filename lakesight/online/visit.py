"""One request's view of what is served: the models and indexes that whoever asks may use."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import Request

from lakesight.models.base import Kind, ModelSpec
from lakesight.online.access import Caller, caller_of
from lakesight.online.finder import Finder
from lakesight.online.notes import note
from lakesight.online.offers import Served
from lakesight.online.problems import Problem
from lakesight.online.service import service_of
from lakesight.online.shop import ABLE, Sent, Shop


@asynccontextmanager
async def visit(request: Request) -> AsyncIterator["Visit"]:
    """Yield what is served now; it stays as it is until the request is answered."""
    async with service_of(request).visit() as shop:
        yield Visit(request, shop, caller_of(request))


class Visit:
    """What one request may use. Methods raise Problem for anything else."""

    def __init__(self, request: Request, shop: Shop, caller: Caller) -> None:
        self.shop = shop
        self._request, self._caller = request, caller

    @property
    def models(self) -> Mapping[str, Served]:
        """The models that may be used, by name, the first of a kind being its default."""
        has = self._caller.scopes.has_model
        return {name: one for name, one in self.shop.models.items() if has(name)}

    @property
    def indexes(self) -> Mapping[str, Finder]:
        """The indexes that may be searched, by name, the first being the default."""
        has = self._caller.scopes.has_index
        return {name: one for name, one in self.shop.indexes.items() if has(name)}

    def choose(self, kind: Kind, name: str | None) -> tuple[str, ModelSpec]:
        """Return the model of a name that can do a kind of work; the first such without a name."""
        if name is None:
            able = [served for served in self.models.values() if kind in served.specs]
            if not able:
                raise Problem("not-found", f"no model here can {ABLE[kind]}; see /v1/models")
            name = able[0].name
        specs = self.served(name).specs
        if kind not in specs:
            can = ", ".join(ABLE[one] for one in specs)
            raise Problem("invalid", f"{name} cannot {ABLE[kind]}; it can {can}")
        note(self._request.scope, model=name)
        return name, specs[kind]

    def served(self, name: str) -> Served:
        """Return a model by its name."""
        self._caller.require_model(name)
        if name not in self.shop.models:
            raise Problem("not-found", f"no model here is called {name!r}; see /v1/models")
        return self.shop.models[name]

    def index(self, name: str | None) -> tuple[str, Finder]:
        """Return an index by its name, the first without one."""
        if name is None:
            name = next(iter(self.indexes), None)
            if name is None:
                raise Problem("not-found", "there is no index here; see /v1/models")
        self._caller.require_index(name)
        if name not in self.shop.indexes:
            raise Problem("not-found", f"no index here is called {name!r}; see /v1/models")
        note(self._request.scope, index=name)
        return name, self.shop.indexes[name]

    def count(self, sent: Sequence[Sent]) -> None:
        """Count pictures towards the caller's rate; there has to be one, and not too many."""
        if not sent:
            raise Problem("invalid", "expected at least one picture, got none")
        self.shop.check_amount(len(sent))
        note(self._request.scope, pictures=len(sent))
        self._caller.charge(len(sent))
