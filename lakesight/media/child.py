"""The child process that decodes: `python -m lakesight.media.child SOCKET MEMORY PARENT CONFIG`.

It is small (no Arrow, no torch), limited, and expendable. Requests and replies are single
datagrams; pixels lie in shared memory: the views, then the encoded object.
"""

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image
from pydantic import BaseModel, ConfigDict, Field

from lakesight.media.decode import Pixels, decode
from lakesight.media.errors import MediaError
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView

READY = b"ready"
REQUEST = struct.Struct("<QQ")
"""One request: the size in bytes of the object that now lies in the shared memory, and which of the
views are wanted, the lowest bit the first."""
MAX_VIEWS = 64
MAX_REPLY_BYTES = 4096

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildConfig(BaseModel):
    """What a child is told when it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    views: tuple[ImageView, ...] = Field(max_length=MAX_VIEWS)
    limits: Limits

    def num_view_bytes(self) -> int:
        """Return the size of the views at the start of the shared memory."""
        return sum(view.width * view.height * 3 for view in self.views)

    def num_bytes(self) -> int:
        """Return the size of the shared memory."""
        return self.num_view_bytes() + self.limits.max_bytes


def lay_out(views: Sequence[ImageView], memory: mmap.mmap) -> tuple[Pixels, ...]:
    """Return the views `(height, width, 3)` that lie one after another in the shared memory."""
    arrays = []
    offset = 0
    for view in views:
        size = view.width * view.height * 3
        flat = np.frombuffer(memory, np.uint8, size, offset)
        arrays.append(flat.reshape(view.height, view.width, 3))
        offset += size
    return tuple(arrays)


def main() -> None:
    """Serve decode requests until the parent closes the socket or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    socket_fd, memory_fd, parent_pid = map(int, sys.argv[1:4])
    _die_with(parent_pid)
    config = ChildConfig.model_validate_json(sys.argv[4])
    memory = mmap.mmap(memory_fd, config.num_bytes())
    channel = socket.socket(fileno=socket_fd)
    _limit(config.limits)
    channel.send(READY)
    _silence()
    _serve(channel, memory, config)


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before we asked
        sys.exit(1)


def _limit(limits: Limits) -> None:
    """Bound memory over what is mapped now; no core files; first to go if the machine runs out."""
    num_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = num_pages * mmap.PAGESIZE + limits.max_memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("ignore")  # broken metadata: nobody would read it here
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _silence() -> None:
    """Drop what image libraries print about broken files: it belongs in the error row."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _serve(channel: socket.socket, memory: mmap.mmap, config: ChildConfig) -> None:
    out = lay_out(config.views, memory)
    start = config.num_view_bytes()
    while request := channel.recv(REQUEST.size):
        num_bytes, mask = REQUEST.unpack(request)
        places = [place for place in range(len(out)) if mask >> place & 1]
        signal.setitimer(signal.ITIMER_PROF, config.limits.max_seconds)  # ends us with SIGPROF
        reply = _reply(memory[start : start + num_bytes], config, out, places)
        signal.setitimer(signal.ITIMER_PROF, 0)
        channel.send(reply)


def _reply(data: bytes, config: ChildConfig, out: Sequence[Pixels], places: Sequence[int]) -> bytes:
    views = [config.views[place] for place in places]
    try:
        decoded = decode(data, views, config.limits, [out[place] for place in places])
    except MediaError as error:
        return json.dumps({"error": [error.type, error.message[:500]]}).encode()
    return json.dumps({"size": [decoded.width, decoded.height], "format": decoded.format}).encode()


if __name__ == "__main__":
    main()
