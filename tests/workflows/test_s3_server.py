"""The S3 server of the tests and the demo: it keeps its objects, and ends with its owner."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from workflows.s3_server import GRPC_OFFSET, SOCKETS, S3Server

OWNER = """
import sys, time
from pathlib import Path
from workflows.s3_server import S3Server
server = S3Server(Path(sys.argv[1]))
server.start()
print(server.process.pid, flush=True)
time.sleep(600)
"""


def test_it_keeps_objects_and_keys_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with S3Server(folder) as first:
        first.client().create_bucket(Bucket="kept")
        first.client().put_object(Bucket="kept", Key="a", Body=b"x")
    assert stat.S_IMODE((folder / "ids.json").stat().st_mode) == 0o600
    with S3Server(folder) as second:
        assert second.secret_key == first.secret_key
        assert second.client().get_object(Bucket="kept", Key="a")["Body"].read() == b"x"
        with pytest.raises(ClientError, match="NoSuchBucket"):
            second.client().put_object(Bucket="nowhere", Key="a", Body=b"x")
    assert folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        assert "weed" in server.name()
        owner.kill()
    deadline = time.monotonic() + 10
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_temporary_one_leaves_nothing(s3_server: S3Server) -> None:
    with S3Server() as server:
        assert server.folder.is_dir()
        assert server.endpoint != s3_server.endpoint
    assert not server.folder.exists()
    ports = [port for each in server.ports for port in (each, each + GRPC_OFFSET)]
    assert not [path for port in ports for path in SOCKETS.glob(f"*-{port}.sock")]
