"""The HTTP application in a process of its own, with small limits: what hostile requests go to.

`python -m tests.hostile_server KEYS` prints its port, and ends when its standard input does.
"""

import asyncio
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from lakesight.online.access import AccessSettings
from lakesight.online.bodies import BodyLimits
from lakesight.online.guard import SafetySettings
from lakesight.online.load import LoadLimits
from lakesight.online.offers import told
from lakesight.online.refusing import RefusalSettings
from lakesight.online.service import Service
from workflows.serving import Around, build_app

MAX_BYTES = 2 << 20
MAX_HELD_BYTES = 24 << 20
LIMITS = {"max_bytes": MAX_BYTES, "max_pixels": 4_000_000, "max_seconds": 2.0}


def settings(keys: Path) -> SafetySettings:
    """Return limits that are reached soon."""
    return SafetySettings(
        access=AccessSettings(keys=keys),
        bodies=BodyLimits(
            max_bytes=MAX_BYTES, max_held_bytes=MAX_HELD_BYTES, idle_s=5.0, total_s=12.0
        ),
        load=LoadLimits(max_requests=24, answer_s=60.0, stream_s=60.0),
        refusals=RefusalSettings(linger_s=0.5),
    )


async def serve(keys: Path, listening: socket.socket) -> None:
    """Serve a detector until the standard input ends."""
    service = Service()
    serving = {"models": ["starter-yolo-detect"], "limits": LIMITS, "num_decoders": 2}
    await service.configure(lambda: told(serving))
    config = uvicorn.Config(
        build_app(Around(safety=settings(keys)), service),
        log_level="critical",
        ws="none",
        access_log=False,
    )
    server = uvicorn.Server(config)

    def end_with_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    await server.serve([listening])


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), socket.create_server(("127.0.0.1", 0))))
