"""The parent's handle on one decoding child: one object in, one answer out, whatever dies."""

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lakesight.media.child import MAX_REPLY_BYTES, READY, REQUEST, ChildConfig, lay_out
from lakesight.media.decode import Decoded
from lakesight.media.errors import MediaError

START_SECONDS = 60.0
MAX_WAIT = 6
"""An answer may take so many times the limit of CPU time: a busy machine is no picture's fault."""


class DecodeProcess:
    """One child process and the memory shared with it. Belongs to one thread.

    The thread that first decodes must outlive the child: Linux delivers the parent's death signal
    when the *thread* that forked ends.
    """

    def __init__(self, config: ChildConfig) -> None:
        self._config = config
        self._memory_fd = os.memfd_create("lakesight-decode", os.MFD_CLOEXEC)  # no name to leak
        os.ftruncate(self._memory_fd, config.num_bytes())
        self._memory = mmap.mmap(self._memory_fd, config.num_bytes())
        self._views = lay_out(config.views, self._memory)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def __enter__(self) -> "DecodeProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._views = ()
        self._memory.close()
        os.close(self._memory_fd)

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._process.pid if self._process else None

    def decode(self, data: bytes, places: Sequence[int] | None = None) -> Decoded | MediaError:
        """Return what the child made of one object; a child that died is replaced at the next call.

        `places` are those of the views that are wanted, ascending; all of them unless given. Raises
        `RuntimeError` where no child can be started at all.
        """
        wanted = range(len(self._views)) if places is None else places
        limits = self._config.limits
        if len(data) > limits.max_bytes:
            text = f"{len(data):,} bytes, limit {limits.max_bytes:,}"
            return MediaError("too many bytes", text)
        self._write(data)
        channel = self._ready_channel()
        try:
            channel.settimeout(MAX_WAIT * limits.max_seconds)
            channel.send(REQUEST.pack(len(data), sum(1 << place for place in wanted)))
            reply = channel.recv(MAX_REPLY_BYTES)
        except TimeoutError:
            self.stop()
            return self._timeout(f"{MAX_WAIT * limits.max_seconds:g} s")
        except ConnectionError:
            reply = b""
        return self._result(reply, wanted) if reply else self._post_mortem()

    def kill(self) -> None:
        """Have the child end now; safe from any thread, which `stop` is not."""
        if process := self._process:
            process.kill()

    def stop(self) -> None:
        """Kill the child, if there is one, and wait for its end."""
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._channel:
            self._channel.close()
        self._process = self._channel = None

    def start(self) -> socket.socket:
        """Start a child, wait until it can decode, and return the socket to it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        fds = (theirs.fileno(), self._memory_fd)
        arguments = (*map(str, fds), str(os.getpid()), self._config.model_dump_json())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lakesight.media.child", *arguments],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,  # Ctrl-C is for the parent to handle
            )
        ours.settimeout(START_SECONDS)
        with contextlib.suppress(OSError):
            if ours.recv(MAX_REPLY_BYTES) == READY:
                return ours
        self.stop()
        raise RuntimeError("a decoding process did not start: see its message above")

    def _ready_channel(self) -> socket.socket:
        if self._channel and self._process and self._process.poll() is None:
            return self._channel
        self.stop()
        return self.start()

    def _write(self, data: bytes) -> None:
        offset = self._config.num_view_bytes()
        rest = memoryview(data)
        while rest:  # unlike a copy into the map, this lets other threads run
            num_written = os.pwrite(self._memory_fd, rest, offset)
            rest, offset = rest[num_written:], offset + num_written

    def _result(self, reply: bytes, wanted: Sequence[int]) -> Decoded | MediaError:
        """Read a reply. JSON, not pickle: a child that a file took over must not take us over."""
        answer = json.loads(reply)
        if "error" in answer:
            return MediaError(*answer["error"])
        width, height = answer["size"]
        views = tuple(self._views[place].copy() for place in wanted)
        return Decoded(width, height, answer["format"], views)

    def _timeout(self, limit: str) -> MediaError:
        return MediaError("timeout", f"not decoded after {limit}")

    def _post_mortem(self) -> MediaError:
        """Say how the child ended; it held exactly one object, so this is that object's error."""
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        if code == -signal.SIGPROF:
            return self._timeout(f"{self._config.limits.max_seconds:g} s of CPU time")
        if code == -signal.SIGKILL:
            return MediaError("crashed", "the decoder was killed (out of memory?)")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return MediaError("crashed", f"the decoder ended with {how}")


def _environment() -> dict[str, str]:
    """Return an environment in which a child finds what we find, and uses one thread."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
