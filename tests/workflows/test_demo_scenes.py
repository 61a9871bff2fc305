"""The demo's second act, up to what a bucket holds; what its commands do is tested with each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lakesight.models import catalog
from lakesight.scenes.known import is_scene
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
    pictures_and_what_they_are = demo_scenes.NUM_SCENES + 1
    assert upload(client, bucket, demo_scenes.objects(folder)) == pictures_and_what_they_are

    def written() -> dict[str, object]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="scenes/")["Contents"]
        return {one["Key"]: one["LastModified"] for one in found}

    before = written()
    assert len(before) == pictures_and_what_they_are
    assert is_scene(f"s3://{bucket}/scenes/images/val/000000.jpg")
    upload(client, bucket, demo_scenes.objects(folder))
    assert written() == before


def test_its_commands_can_be_typed(folder: Path) -> None:
    """Every command is one, and every model is there and knows scenes."""
    commands = demo_scenes.commands("bucket", folder, folder / "scenes.html")
    assert {words[0] for words in commands} <= set(COMMANDS)
    for name in (demo_scenes.DETECTOR, demo_scenes.FINDER):
        assert name in commands[0]
        assert catalog.resolve(name).knows == "scenes"
