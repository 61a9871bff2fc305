"""Which pictures are of `lakesight scenes`."""

from collections.abc import Callable
from pathlib import Path

from lakesight.scenes.known import is_scene


def test_only_what_lies_in_a_folder_of_scenes_is_one(
    tmp_path: Path, new_bucket: Callable[[], str]
) -> None:
    (tmp_path / "scenes" / "images").mkdir(parents=True)
    (tmp_path / "scenes" / "scenes.json").write_text("{}")
    assert is_scene((tmp_path / "scenes" / "images" / "1.jpg").as_uri())
    assert not is_scene((tmp_path / "1.jpg").as_uri())
    assert not is_scene(f"s3://{new_bucket()}/a/1.jpg")
    assert not is_scene("s3://no-such-bucket-anywhere/a/1.jpg")
