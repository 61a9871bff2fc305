"""`lakesight ingress FOLDER`: what a machine of a cluster needs before Ray starts there."""

import os
import shlex
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.online.access import AccessSettings
from lakesight.online.guard import SafetySettings
from workflows.ingress import MAX_FOLDER, InnerPorts, Tls, choose, haproxy


class NodeIngress(Frozen):
    """Set up HAProxy on a machine of a cluster that `serve deploy` serves on.

    It writes a folder, and prints the variables that Ray is to start with on this machine, the head
    and every worker. Without them Ray Serve's own configuration holds: docs/threat-model.md.

    Examples:
      set_up="$(lakesight ingress /etc/lakesight/haproxy)" && eval "$set_up" && ray start --head
    """

    folder: CliPositionalArg[Path]
    """Where HAProxy's files lie; for Ray's user alone to write."""
    port: int = Field(default=8000, ge=1, le=65535)
    """What `http_options.port` of the cluster's Serve says."""
    tls_cert: Path | None = None
    """Certificate chain (PEM), to be reached by https; with --tls-key."""
    tls_key: Path | None = None
    """Its private key (PEM), without a passphrase."""

    def run(self) -> int:
        """Write the folder and print `export NAME=VALUE` lines; return 0."""
        choose("haproxy")
        folder = self.folder.absolute()
        tls = Tls.of(self.tls_cert, self.tls_key)
        _make(folder)
        # which knows neither keys nor names: the guard of each replica does
        door = SafetySettings(access=AccessSettings(keys=None, anyone=True))
        settings = haproxy(folder, self.port, tls, InnerPorts(), door)
        for name, value in settings.items():
            print(f"export {name}={shlex.quote(value)}")
        return 0


def _make(folder: Path) -> None:
    """Make the folder; UserError for one that others may write, as Ray runs what lies in it.

    And for one whose path leaves no room for that of a socket.
    """
    if len(str(folder)) > MAX_FOLDER:
        raise UserError(
            f"{folder} is too long for the sockets in it: expected a path of {MAX_FOLDER} "
            "characters at most, such as /etc/lakesight/haproxy"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from error
    if state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise UserError(
            f"{folder} is there, and not for you alone (mode 700, owned by who runs this): name "
            "another folder, or make it so"
        )
