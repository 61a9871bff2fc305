"""What all tests share: a real S3 server, started once, when a test first asks for a bucket."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workflows.s3_server import S3Server

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Networks in tests are tiny. OpenMP's threads wait for each other by spinning: where two share a
core with something else, a test of 4 seconds takes 50. Set before anything imports torch."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run whole commands first: of two processes one would be left alone with them at the end."""
    items.sort(key=lambda item: "workflows" not in item.path.parts)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Yield a running server that every AWS client of this process and its children finds."""
    nowhere = tmp_path_factory.mktemp("aws") / "none"
    with pytest.MonkeyPatch.context() as patch, S3Server() as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(nowhere))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def new_bucket(s3_server: S3Server) -> Callable[[], str]:
    """Return a function that makes an empty bucket and returns its name."""

    def make() -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        s3_server.client().create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture(scope="session")
def shared_bucket(s3_server: S3Server) -> str:
    """Return the name of a bucket in which every test takes a prefix of its own."""
    s3_server.client().create_bucket(Bucket="shared")
    return "shared"


@pytest.fixture(params=["local", "s3"])
def new_root(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return a function that gives the URI of an empty place: a folder, and again a prefix."""
    if request.param == "local":
        return lambda: str(tmp_path / uuid.uuid4().hex[:12])
    bucket: str = request.getfixturevalue("shared_bucket")
    return lambda: f"s3://{bucket}/some/{uuid.uuid4().hex[:12]}"
