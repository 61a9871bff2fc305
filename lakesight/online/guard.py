"""All that lies between a socket and the app, in its order.

Under Ray Serve a proxy (or HAProxy) takes the request first, and reads bodies without any limit
of its own: `at_the_door` are the parts that have to lie there too. See docs/threat-model.md.
"""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from lakesight.models.base import Frozen
from lakesight.online.access import Access, AccessSettings
from lakesight.online.bodies import Bodies, BodyLimits
from lakesight.online.headers import AnswerHeaders, HeaderSettings, RequestHeaders
from lakesight.online.load import Load, LoadLimits
from lakesight.online.logs import AccessLog
from lakesight.online.metrics import Metrics
from lakesight.online.origins import LOCAL_NAMES, Hosts, HostSettings
from lakesight.online.refusing import RefusalSettings, Refusing
from lakesight.online.request_ids import RequestIds

if TYPE_CHECKING:
    from lakesight.online.spans import Spans


class SafetySettings(Frozen):
    """Every limit of HTTP itself.

    What pictures may cost is in `media.limits.Limits`, where from in `sources.SourceSettings`.
    """

    access: AccessSettings
    hosts: HostSettings = HostSettings()
    headers: HeaderSettings = HeaderSettings()
    bodies: BodyLimits = BodyLimits()
    load: LoadLimits = LoadLimits()
    refusals: RefusalSettings = RefusalSettings()

    @property
    def host_settings(self) -> HostSettings:
        """Without keys, this machine's own names are the only ones, unless it is for anyone."""
        is_known = self.access.keys or self.access.anyone
        return self.hosts if is_known else HostSettings(names=LOCAL_NAMES)


def guarded(
    app: ASGIApp,
    settings: SafetySettings,
    metrics: Metrics | None = None,
    spans: "Spans | None" = None,
) -> ASGIApp:
    """Return the app inside all middlewares: what listens to a socket by plain uvicorn.

    Requests are counted in `metrics`, and traced where there are `spans`. Raises UserError where
    the keys cannot be read.
    """
    inner: ASGIApp = Load(app, settings.load)
    inner = Bodies(inner, settings.bodies)
    if spans is not None:
        from lakesight.online.spans import Traced

        inner = Traced(inner, spans)
    inner = Access(inner, settings.access)
    return RequestIds(AccessLog(_outer(inner, settings), metrics or Metrics()))


def at_the_door(app: ASGIApp, settings: SafetySettings) -> ASGIApp:
    """Return Ray Serve's proxy inside what it lacks: it knows no keys, and logs nothing.

    The replica behind it is `guarded` nevertheless.
    """
    return RequestIds(_outer(Bodies(app, settings.bodies), settings))


def _outer(inner: ASGIApp, settings: SafetySettings) -> ASGIApp:
    inner = Hosts(inner, settings.host_settings)
    inner = RequestHeaders(inner, settings.headers)
    inner = Refusing(inner, settings.refusals)
    return AnswerHeaders(inner, settings.headers)
