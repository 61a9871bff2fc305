"""A remote object as a Python file: what is read is fetched, a buffer at a time."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

BUFFER_BYTES = 1 << 20


class RangeFile(io.RawIOBase):
    """Read-only, seekable; `fetch(start, end)` returns the bytes `[start, end)` of the object."""

    def __init__(self, fetch: Callable[[int, int], bytes], num_bytes: int) -> None:
        self._fetch = fetch
        self._num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        """Fill `buffer` as far as the object goes."""
        view = memoryview(buffer)
        end = min(self._position + len(view), self._num_bytes)
        if end <= self._position:
            return 0
        data = self._fetch(self._position, end)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
