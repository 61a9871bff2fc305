"""What lies around Ray Serve's own proxy, which calls `middlewares` when it starts.

That proxy reads bodies of any size into memory, hands a request on before its body is whole, and
heeds headers by which a client sets its own deadline; HAProxy, which `workflows.ingress` prefers,
does none of it. Ray Serve takes no middlewares by its settings any more, but by a function
that the environment names; it calls the function in replicas with an HTTP server of their own, too.
"""

import os

from starlette.middleware import Middleware

from lakesight.online.guard import SafetySettings, at_the_door
from lakesight.online.http1 import bound_uvicorn

SETTINGS = "LAKESIGHT_DOOR"
"""The variable that holds the limits, as JSON."""


def environment(safety: SafetySettings) -> dict[str, str]:
    """Return what is to be set before Ray Serve starts."""
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}:{middlewares.__name__}",
        SETTINGS: safety.model_dump_json(by_alias=True),
    }


def middlewares() -> list[Middleware]:
    """Return what Ray Serve puts around its proxy; a replica's own server has a guard inside."""
    bound_uvicorn()
    if is_replica():
        return []
    settings = SafetySettings.model_validate_json(os.environ[SETTINGS])
    return [Middleware(at_the_door, settings)]  # called with the app first


def is_replica() -> bool:
    """Return whether this process is a replica of a deployment."""
    import ray

    name: str = ray.get_runtime_context().get_actor_name() or ""
    return name.startswith("SERVE_REPLICA::")
