"""The second act of the demo: what is uploaded, and what is asked of it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lakesight.lake.store import Store
from lakesight.scenes.known import is_scene
from workflows import demo_scenes
from workflows.__main__ import main


def test_scenes_are_uploaded_with_what_to_ask_of_each(
    tmp_path: Path, new_bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_scenes, "NUM_SCENES", 3)
    act = demo_scenes.Act(tmp_path, f"s3://{new_bucket()}/scenes")
    assert main(act.draw) == 0
    assert act.upload() == 3
    listed = pq.read_table(act.listing).to_pylist()
    drawn = pq.read_table(act.scenes / "tables" / "val.parquet").to_pylist()
    assert [row["questions"] for row in listed] == [
        [one["question"] for one in row["questions"]] for row in drawn
    ]
    for row, truth in zip(listed, drawn, strict=True):
        store, key = Store.open(row["uri"])
        assert store.get(key) == (act.scenes / truth["file_name"]).read_bytes()
        assert is_scene(row["uri"])
    before = act.listing.read_bytes()
    assert act.upload() == 3  # a second demo finds all there
    assert act.listing.read_bytes() == before


def test_only_what_lies_in_a_folder_of_scenes_is_one(
    tmp_path: Path, new_bucket: Callable[[], str]
) -> None:
    (tmp_path / "scenes" / "images").mkdir(parents=True)
    (tmp_path / "scenes" / "scenes.json").write_text("{}")
    assert is_scene((tmp_path / "scenes" / "images" / "1.jpg").as_uri())
    assert not is_scene((tmp_path / "1.jpg").as_uri())
    assert not is_scene(f"s3://{new_bucket()}/a/1.jpg")
    assert not is_scene("s3://no-such-bucket-anywhere/a/1.jpg")
