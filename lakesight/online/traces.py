"""Whether requests are traced: OpenTelemetry's own variables say so, and the extra `otel` does it.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from typing import TYPE_CHECKING

from lakesight.errors import UserError

if TYPE_CHECKING:
    from lakesight.online.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTER, PROTOCOL = "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"


def opened() -> "Spans | None":
    """Return what traces this process, or None where nothing asks for it: then no SDK is loaded.

    Raises UserError for an exporter that is not here.
    """
    if not is_wanted():
        return None
    try:
        from lakesight.online.spans import Spans, exported
    except ImportError as error:
        message = f"traces are asked for, and {error.name} is not here: pip install lakesight[otel]"
        raise UserError(message) from error
    return Spans(exported())


def check() -> None:
    """Raise UserError where traces are asked for and cannot be had."""
    spans = opened()
    if spans is not None:
        spans.close()


def is_wanted() -> bool:
    """Return whether the environment names an exporter, or where to send traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = os.environ.get(EXPORTER, "")
    if exporter not in {"", "otlp", "none"}:
        raise UserError(f"{EXPORTER} is {exporter!r}: expected otlp, or none")
    protocol = os.environ.get(PROTOCOL, "http/protobuf")
    if protocol != "http/protobuf":
        raise UserError(f"{PROTOCOL} is {protocol!r}: expected http/protobuf")
    return exporter == "otlp" or (not exporter and any(name in os.environ for name in ENDPOINTS))
