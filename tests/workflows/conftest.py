"""Pictures to look at, and a cluster to look at them on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotating import SHARED, picture
from tests.clusters import head
from workflows.s3_server import S3Server


@pytest.fixture(scope="session")
def shared_ray(s3_server: S3Server) -> Iterator[None]:
    """Let every `run` join one cluster: to start its own takes ten seconds of a core."""
    assert s3_server.endpoint  # workers find it by the environment in which the cluster starts
    with head(dashboard=False) as client:
        SHARED.update(client)
        yield
        SHARED.clear()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 240 small JPEGs, three of them broken. Not to be written to."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(240):
        picture(seed).save(folder / f"{seed:03}.jpg", quality=90)
    (folder / "100.jpg").write_bytes(b"not a picture at all")
    (folder / "101.jpg").write_bytes(b"")
    whole = (folder / "102.jpg").read_bytes()
    (folder / "102.jpg").write_bytes(whole[: len(whole) // 2])
    return folder
