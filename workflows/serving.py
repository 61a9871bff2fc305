"""What Ray Serve runs: one deployment, for `lakesight serve` and for `serve deploy` alike."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakesight.errors import UserError, first_mistake
from lakesight.models.base import Frozen
from lakesight.online.guard import SafetySettings
from lakesight.online.logs import RedactKeys
from lakesight.online.scrape import Scrape
from lakesight.online.service import Service
from lakesight.online.sources import SourceSettings
from workflows.finder import open_index

APP = "lakesight"
"""The application's and the deployment's name in Ray Serve."""
NAME = "x-request-id"
MAX_ONGOING = 1024
"""Requests that a replica takes at once: batches form of what is here, and not of what waits in a
proxy. What is too much, the app itself refuses."""


class Around(Frozen):
    """What lies around the models, and stays as it is while a replica runs."""

    safety: SafetySettings
    sources: SourceSettings = SourceSettings()


def deployment(around: Around, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Return the application for Ray Serve to run.

    `settings` are what `offers.told` reads: Ray Serve changes them in place, as the deployment's
    `user_config`. `options` are further ones of a deployment.
    """
    from ray import serve

    from actors.replica import Replica

    made: Any = serve.deployment(
        serve.ingress()(Replica),
        name=APP,
        max_ongoing_requests=MAX_ONGOING,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=60,
        health_check_period_s=5,
        max_constructor_retry_count=3,
        max_surge_percent=100,
        user_config=dict(settings),
    )
    return made.options(**options).bind(open_index, partial(build_app, around))


def application(given: Mapping[str, Any]) -> Any:
    """Return what `serve deploy` runs: `import_path: workflows.serving:application`.

    Its `args` are those of `Around`; what is served is the `user_config` of the deployment
    `lakesight`. See infra/serve.yaml.
    """
    try:
        around = Around.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(f"args of the application: {first_mistake(error)}") from error
    access = around.safety.access
    if access.keys is None and not access.anyone:
        raise UserError(
            "args of the application: safety.access.keys is null, so whoever reaches the cluster's "
            "port could use it: name the file of keys, or say anyone: true beside it if what is "
            "in front asks who they are"
        )
    return deployment(around, {}, {})


def build_app(around: Around, service: Service, scrape: Scrape | None = None) -> ASGIApp:
    """Return the app of a replica: it is built there.

    `scrape` gathers the metrics of all replicas; this one's alone unless given.
    """
    from lakesight.online.app import create_app
    from lakesight.online.guard import guarded
    from lakesight.online.http1 import bound_uvicorn

    bound_uvicorn()  # Ray Serve starts the replica's HTTP server, and tells it nothing
    _log_to_stderr()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a line for each broken form
    app = create_app(service, around.sources, scrape)
    return OneRequestId(guarded(app, around.safety, service.metrics, service.spans))


def _log_to_stderr() -> None:
    """Write what the server says to its process's standard error, which Ray keeps in a file."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactKeys())
    log = logging.getLogger("lakesight")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)


class OneRequestId:
    """Middleware that leaves the request's id to Ray Serve, which adds it to every answer too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        given = Headers(scope=scope).get(NAME) if scope["type"] == "http" else None

        async def once(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get(NAME) == given:
                    del headers[NAME]
            await send(message)

        await self.app(scope, receive, once if given else send)
