"""Who writes below an `s3://` prefix: an object that its owner renews while he is alive."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

from lakesight.errors import UserError
from lakesight.lake.store import Store, StoreError

log = logging.getLogger(__name__)

BEAT_S = 30.0
DEAD_S = 300.0
"""A lease that was not renewed for so long is that of a dead process."""
SETTLE_S = 2.0
"""Of several that take over a dead one's lease, the one whose it is after so long has it."""


@contextmanager
def leased(
    store: Store, key: str, *, beat_s: float = BEAT_S, dead_s: float = DEAD_S
) -> Iterator[None]:
    """Keep others out: hold the object `key`, renewed every `beat_s` seconds.

    Raises UserError where another process holds it, unless that has not renewed it for `dead_s`.
    Clocks that differ by minutes make a living one look dead.
    """
    own = {"host": socket.gethostname(), "process": os.getpid(), "token": uuid4().hex}
    mine = json.dumps(own).encode()
    if not store.create(key, mine):
        _take_over(store, key, mine, dead_s)
    stop = threading.Event()
    beat = threading.Thread(
        target=_renew, args=(store, key, mine, stop, beat_s), name="lease", daemon=True
    )
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with suppress(StoreError):  # then it ends by its age
            if _read(store, key) == mine:
                store.delete(key)


def _take_over(store: Store, key: str, mine: bytes, dead_s: float) -> None:
    entry = store.head(key)
    age_s = (datetime.now(UTC) - entry.modified).total_seconds() if entry else dead_s
    if age_s >= dead_s:
        store.put(key, mine)
        threading.Event().wait(SETTLE_S)
    holder = _read(store, key)
    if holder == mine:
        return
    named = json.loads(holder or b"{}")
    who = f"process {named.get('process')} of {named.get('host')}"
    raise UserError(
        f"another run ({who}) writes there: wait until it is done. Where it was killed, run this "
        f"again in {dead_s:.0f} s, or delete {store.uri(key)}"
    )


def _renew(store: Store, key: str, mine: bytes, stop: threading.Event, beat_s: float) -> None:
    while not stop.wait(beat_s):
        try:
            if _read(store, key) not in {mine, None}:
                log.warning("another run took %s over: end one of them", store.uri(key))
                return
            store.put(key, mine)
        except StoreError as error:  # the next time may do
            log.warning("cannot renew %s: %s", store.uri(key), error)


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except FileNotFoundError:
        return None
