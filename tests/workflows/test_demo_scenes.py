"""The demo's second act, up to what a bucket holds; what its commands do is tested with each."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lakesight.models import catalog
from lakesight.scenes.known import is_scene
from lakesight.training.blip2.texts import open_texts
from workflows import demo_scenes
from workflows.__main__ import COMMANDS
from workflows.demo import upload
from workflows.s3_server import S3Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("act") / "scenes"
    demo_scenes.draw(folder)
    return folder


def test_scenes_are_put_once(
    folder: Path, s3_server: S3Server, new_bucket: Callable[[], str]
) -> None:
    client, bucket = s3_server.client(), new_bucket()
    pictures_list_and_what_they_are = demo_scenes.NUM_SCENES + 2
    count = upload(client, bucket, demo_scenes.objects(bucket, folder))
    assert count == pictures_list_and_what_they_are

    def written() -> dict[str, object]:
        found = client.list_objects_v2(Bucket=bucket)["Contents"]
        return {one["Key"]: one["LastModified"] for one in found}

    before = written()
    assert len(before) == pictures_list_and_what_they_are
    assert is_scene(f"s3://{bucket}/scenes/images/val/000000.jpg")
    upload(client, bucket, demo_scenes.objects(bucket, folder))
    assert written() == before


def test_every_picture_of_the_list_is_there_with_its_questions(folder: Path) -> None:
    there = {key for key, _ in demo_scenes.objects("bucket", folder)}
    rows = pq.read_table(BytesIO(demo_scenes.asked("bucket", folder))).to_pylist()
    assert len(rows) == demo_scenes.NUM_SCENES
    known = {one.path.name: one.questions for one in open_texts(str(folder), "val", "questions")}
    for row in rows:
        key = row["uri"].removeprefix("s3://bucket/")
        assert key in there
        assert row["questions"] == [one.text for one in known[Path(key).name]]


def test_its_commands_can_be_typed(folder: Path) -> None:
    """Every command is one, and every model is there and knows scenes."""
    commands = demo_scenes.commands("bucket", folder, folder / "scenes.html")
    assert {words[0] for words in commands} <= set(COMMANDS)
    for name in (demo_scenes.DETECTOR, demo_scenes.FINDER, demo_scenes.WRITER):
        assert name in commands[0]
        assert catalog.resolve(name).knows == "scenes"
