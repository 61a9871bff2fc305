"""The Ray Serve deployment: one process that takes requests, decodes, and holds the models."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
from prometheus_client import Metric
from ray import serve
from starlette.types import ASGIApp

from lakesight.online import traces
from lakesight.online.finder import OpenIndex
from lakesight.online.offers import told
from lakesight.online.scrape import Counted, Scrape
from lakesight.online.service import Service
from lakesight.runtimes.base import usable_cpus

log = logging.getLogger("lakesight.metrics")

SCRAPE_S = 5.0
"""How long other replicas may take to tell their metrics: half of Prometheus' own patience."""
SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while another wants it: a tenth of Python's default,
which would be felt in every answer, as the event loop waits for threads of models."""


class Replica:
    """Serves an ASGI app; `reconfigure` says what, and may say otherwise at any time."""

    def __init__(
        self, open_index: OpenIndex, build_app: Callable[[Service, Scrape], ASGIApp]
    ) -> None:
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from who asked for none
        sys.setswitchinterval(SWITCH_S)
        self._service = Service(open_index, traces.opened())
        self._build_app = build_app
        self._all: Any = None
        """What asks every replica, itself among them; it is made when it is first needed."""

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app: Ray Serve asks for it once."""
        return self._build_app(self._service, self._scrape)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve this from now on: Ray Serve calls it before the first request, and at a change."""
        source = partial(told, dict(user_config))
        serving = await asyncio.to_thread(source)
        # Ray sets it too, to the CPUs that it counts; torch reads it once, when it is imported
        os.environ["OMP_NUM_THREADS"] = str(serving.num_threads or usable_cpus())
        await self._service.configure(source)

    async def counted(self) -> tuple[str, list[Metric]]:
        """Return the name of this replica and its metrics."""
        return serve.get_replica_context().replica_id.unique_id, self._service.counted()

    async def _scrape(self) -> Counted:
        """Return the metrics of all replicas: requests of any of them are answered for all.

        One that ends just now has none; where one does not answer in time, this one's alone.
        """
        if self._all is None:
            context = serve.get_replica_context()
            self._all = serve.get_deployment_handle(context.deployment, context.app_name)
        own = dict([await self.counted()])
        try:
            asked = self._all.broadcast("counted")
            found = await asked.results_async(timeout_s=SCRAPE_S, return_exceptions=True)
        except TimeoutError:
            log.warning("a replica did not tell its metrics within %g s", SCRAPE_S)
            return own
        return own | dict(one for one in found if not isinstance(one, BaseException))

    def check_health(self) -> None:
        """Raise where a thread has ended: Ray Serve then starts another replica."""
        if not self._service.is_alive:
            raise RuntimeError("a thread of a model has ended")
