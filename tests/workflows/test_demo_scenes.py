"""The demo's second act, up to what a bucket holds; what its commands do is tested with each."""

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lakesight.models import catalog
from lakesight.scenes.known import is_scene
from tests.worded import data
from workflows import demo_scenes
from workflows.__main__ import COMMANDS
from workflows.s3_server import S3Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("act") / "scenes"
    demo_scenes.draw(folder)
    return folder


def test_scenes_and_their_questions_are_put_once(
    folder: Path, s3_server: S3Server, new_bucket: Callable[[], str]
) -> None:
    client, bucket = s3_server.client(), new_bucket()
    assert demo_scenes.upload(client, bucket, folder) == demo_scenes.NUM_SCENES
    listed = client.get_object(Bucket=bucket, Key="scenes.parquet")["Body"].read()
    rows = pq.read_table(io.BytesIO(listed)).to_pylist()
    asked = {row["uri"].rpartition("/")[2]: set(row["questions"]) for row in rows}
    known = data(folder, "answer").pictures
    assert asked == {one.path.name: {each.text for each in one.questions} for one in known}
    assert is_scene(rows[0]["uri"])

    def written() -> dict[str, object]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="scenes/")["Contents"]
        return {one["Key"]: one["LastModified"] for one in found}

    before = written()
    assert len(before) == demo_scenes.NUM_SCENES + 1
    demo_scenes.upload(client, bucket, folder)
    assert written() == before


def test_its_commands_can_be_typed(folder: Path) -> None:
    """Every command is one, every model is there, and each column judged is one written."""
    commands = demo_scenes.commands("bucket", folder, folder / "scenes.html")
    assert {words[0] for words in commands} <= set(COMMANDS)
    annotate = commands[0]
    for name in {demo_scenes.DETECTOR, demo_scenes.WRITER, demo_scenes.FINDER}:
        assert name in annotate
        assert catalog.resolve(name).knows == "scenes"
