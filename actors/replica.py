"""The Ray Serve deployment: one process that takes requests, decodes, and holds the models."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
from starlette.types import ASGIApp

from lakesight.online.finder import OpenIndex
from lakesight.online.offers import told
from lakesight.online.service import Service
from lakesight.runtimes.base import usable_cpus

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter while another wants it: a tenth of Python's default,
which would be felt in every answer, as the event loop waits for threads of models."""


class Replica:
    """Serves an ASGI app; `reconfigure` says what, and may say otherwise at any time."""

    def __init__(self, open_index: OpenIndex, build_app: Callable[[Service], ASGIApp]) -> None:
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from who asked for none
        sys.setswitchinterval(SWITCH_S)
        self._service = Service(open_index)
        self._build_app = build_app

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app: Ray Serve asks for it once."""
        return self._build_app(self._service)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve this from now on: Ray Serve calls it before the first request, and at a change."""
        source = partial(told, dict(user_config))
        serving = await asyncio.to_thread(source)
        # Ray sets it too, to the CPUs that it counts; torch reads it once, when it is imported
        os.environ["OMP_NUM_THREADS"] = str(serving.num_threads or usable_cpus())
        await self._service.configure(source)

    def check_health(self) -> None:
        """Raise where a thread has ended: Ray Serve then starts another replica."""
        if not self._service.is_alive:
            raise RuntimeError("a thread of a model has ended")
