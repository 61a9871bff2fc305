"""`ray job submit` to a cluster that asks for a token."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotating import MODEL, assert_exactly_once, picture
from tests.clusters import RAY, head

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client() -> Iterator[dict[str, str]]:
    """The environment of who submits a job to a head node that asks for a token."""
    with head(dashboard=True) as client:
        del client["RAY_ADDRESS"]  # else jobs would be submitted there
        yield os.environ | client


def submit(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", "python", "-m", "workflows", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_job_runs_with_the_token_and_not_without(client: dict[str, str], tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "seen"
    photos.mkdir()
    for seed in range(5):
        picture(seed).save(photos / f"{seed}.jpg")
    words = ["annotate", str(photos), str(output), "--detect", MODEL]

    stranger = submit(client | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}, *words)
    assert stranger.returncode != 0
    assert not output.exists()

    done = submit(client, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Wrote 5 rows" in done.stdout
    assert_exactly_once(str(output), 5)
