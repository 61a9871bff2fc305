"""Pictures to look at."""

from pathlib import Path

import pytest

from tests.annotating import picture


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
