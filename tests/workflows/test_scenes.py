"""`lakesight scenes`, as a user types it: the files, their bytes, and what is refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import simplejpeg
from faster_coco_eval import COCO

from lakesight.masks import Rle, decode
from lakesight.scenes import LABELS, frames, generate
from lakesight.scenes.rows import FRAME, PICTURE
from lakesight.training.yolo.coco import open_coco
from workflows.__main__ import main

SMALL = [
    "--num-images", "70", "--num-val", "5", "--num-videos", "2", "--frames", "4", "--size", "64",
]  # fmt: skip


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "out"
    assert main(["scenes", str(root), *SMALL, "--processes", "1"]) == 0
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def seed_of(root: Path, split: str) -> int:
    told = json.loads((root / "scenes.json").read_text())
    seed: int = told["split_seeds"][split]
    return seed


def test_a_folder_holds_what_was_asked_for(output: Path) -> None:
    expected = {"scenes.json", *(f"tables/{split}.parquet" for split in ("train", "val", "videos"))}
    for split, number in (("train", 70), ("val", 5)):
        expected |= {f"images/{split}/{index:06}.jpg" for index in range(number)}
        expected |= {
            f"annotations/{kind}_{split}.json" for kind in ("instances", "captions", "questions")
        }
    expected |= {f"videos/{video:06}/{frame:06}.jpg" for video in range(2) for frame in range(4)}
    expected.add("annotations/instances_videos.json")
    assert set(contents(output)) == expected


def test_pictures_and_tables_are_those_of_the_library(output: Path) -> None:
    table = pq.read_table(output / "tables" / "train.parquet")
    assert table.schema.equals(PICTURE)
    for index in (0, 69):
        row, scene = (
            table.slice(index, 1).to_pylist()[0],
            generate(seed_of(output, "train"), index, 64),
        )
        assert row["file_name"] == f"images/train/{index:06}.jpg"
        assert (row["label"], row["captions"]) == (scene.label, list(scene.captions))
        pixels = simplejpeg.decode_jpeg((output / row["file_name"]).read_bytes())
        assert np.abs(pixels.astype(int) - scene.pixels).mean() < 4  # JPEG
        assert len(row["objects"]) == len(scene.objects)
        for told, found in zip(row["objects"], scene.objects, strict=True):
            mask = Rle(tuple(told["mask"]["size"]), told["mask"]["counts"])
            assert np.array_equal(decode(mask), scene.mask(found))
            assert tuple(told["box"]) == found.box_xyxy
            assert np.allclose(told["obb"], found.rotated_box)
            assert np.allclose(told["keypoints"], found.keypoints)
            assert (told["label"], LABELS[told["class_id"]]) == (found.label,) * 2


def test_the_splits_differ(output: Path) -> None:
    files = contents(output)
    assert files["images/train/000000.jpg"] != files["images/val/000000.jpg"]


def test_frames_keep_their_identities(output: Path) -> None:
    table = pq.read_table(output / "tables" / "videos.parquet")
    assert table.schema.equals(FRAME)
    rows = table.to_pylist()
    assert [(row["video"], row["frame_index"]) for row in rows] == [
        (video, frame) for video in range(2) for frame in range(4)
    ]
    seed = seed_of(output, "videos")
    drawn = [frame for video in range(2) for frame in frames(seed, video, 64, 4)]
    for row, frame in zip(rows, drawn, strict=True):
        assert [told["track_id"] for told in row["objects"]] == [
            found.instance_id for found in frame.objects
        ]
        assert row["timestamp_s"] == frame.timestamp_s


@pytest.mark.filterwarnings("ignore")
def test_coco_reads_the_annotations(output: Path) -> None:
    coco = COCO(str(output / "annotations" / "instances_train.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(LABELS)
    assert len(coco.getImgIds()) == 70
    for image in coco.loadImgs([1, 70]):
        scene = generate(seed_of(output, "train"), image["id"] - 1, 64)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        for annotation, found in zip(annotations, scene.objects, strict=True):
            assert np.array_equal(coco.annToMask(annotation), scene.mask(found))
            assert annotation["area"] == found.area_px
            x, y, width, height = annotation["bbox"]
            assert (x, y, x + width, y + height) == found.box_xyxy
            keypoints = np.reshape(annotation["keypoints"], (8, 3))
            assert np.allclose(keypoints, found.keypoints)
            assert annotation["num_keypoints"] == (keypoints[:, 2] > 0).sum()
            assert np.allclose(annotation["obb"], found.rotated_box)


@pytest.mark.filterwarnings("ignore")
def test_coco_reads_videos_with_their_identities(output: Path) -> None:
    """An identity has one number in the whole file, one class, and lies in one video."""
    coco = COCO(str(output / "annotations" / "instances_videos.json"))
    told = [
        {"id": video + 1, "name": f"{video:06}", "width": 64, "height": 64, "length": 4}
        for video in range(2)
    ]
    assert coco.dataset["videos"] == told
    tracks = {each["id"]: each for each in coco.dataset["tracks"]}
    assert list(tracks) == list(range(1, len(tracks) + 1))
    rows = pq.read_table(output / "tables" / "videos.parquet").to_pylist()
    assert len(coco.getImgIds()) == len(rows) == 8
    numbers: dict[int, tuple[int, int]] = {}
    for image, row in zip(coco.loadImgs(sorted(coco.getImgIds())), rows, strict=True):
        assert (image["video_id"], image["frame_index"]) == (row["video"] + 1, row["frame_index"])
        assert f"videos/{image['file_name']}" == row["file_name"]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        for annotation, found in zip(annotations, row["objects"], strict=True):
            assert annotation["video_id"] == tracks[annotation["track_id"]]["video_id"]
            assert annotation["category_id"] == tracks[annotation["track_id"]]["category_id"]
            assert annotation["category_id"] == found["class_id"] + 1
            assert annotation["area"] == found["area"]
            identity = row["video"], found["track_id"]
            assert numbers.setdefault(annotation["track_id"], identity) == identity
    assert len(set(numbers.values())) == len(numbers) == len(tracks)


def test_frames_are_pictures_to_train_on(output: Path) -> None:
    path = output / "annotations" / "instances_videos.json"
    dataset = open_coco(path, output / "videos", "obb")
    rows = pq.read_table(output / "tables" / "videos.parquet").to_pylist()
    assert [len(one.class_ids) for one in dataset.pictures] == [len(row["objects"]) for row in rows]
    assert dataset.pictures[5].kinds == {"video_id": "2", "frame_index": "1"}
    assert dataset[5].image.shape == (64, 64, 3)


def test_captions_and_questions_are_those_of_the_table(output: Path) -> None:
    rows = pq.read_table(output / "tables" / "val.parquet").to_pylist()
    for kind, column in (("captions", "captions"), ("questions", "questions")):
        content = json.loads((output / "annotations" / f"{kind}_val.json").read_text())
        assert [each["id"] for each in content["annotations"]] == list(
            range(1, len(content["annotations"]) + 1)
        )
        for image_id, row in enumerate(rows, start=1):
            ours = [each for each in content["annotations"] if each["image_id"] == image_id]
            told = [
                each["caption"]
                if kind == "captions"
                else {name: each[name] for name in ("kind", "question", "answer")}
                for each in ours
            ]
            assert told == row[column]


def test_a_complete_folder_is_left_alone(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main(["scenes", str(output), *SMALL]) == 0
    assert "Nothing new" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == times


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1"], "seed 0 (now 1)"),
        (["--num-images", "71"], "num_images 70 (now 71)"),
        (["--size", "96x64"], "width 64 (now 96)"),
    ],
)
def test_other_settings_are_refused(
    output: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = contents(output)
    assert main(["scenes", str(output), *SMALL, *words]) == 2
    assert message in capsys.readouterr().err
    assert contents(output) == before


@pytest.mark.parametrize(
    ("size", "message"),
    [("large", "WIDTHxHEIGHT"), ("63", "64 to 4096 px"), ("64x", "WIDTHxHEIGHT")],
)
def test_a_size_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str, message: str
) -> None:
    assert main(["scenes", str(tmp_path / "out"), "--size", size]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_no_folder_of_scenes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "weird").mkdir()
    (tmp_path / "weird" / "scenes.json").write_text("{")
    for output, message in (
        (tmp_path, "'thesis.txt' in it"),
        (tmp_path / "thesis.txt", "got the file"),
        (tmp_path / "weird", "expected the settings"),
        ("s3://bucket/scenes", "expected a local folder"),
    ):
        assert main(["scenes", str(output), *SMALL]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_two_processes_that_are_killed_and_go_on_write_the_same_bytes(
    output: Path, tmp_path: Path
) -> None:
    words = ["scenes", str(tmp_path), *SMALL, "--processes", "2"]
    command = [sys.executable, "-m", "workflows", *words]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    parts = tmp_path / "_parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive  # nobody goes on drawing for a parent that is gone
    assert not (tmp_path / "tables").exists()
    done = {path.stem for path in parts.glob("*.parquet")}
    assert len(done) < 5
    first = {
        "train-00000000": tmp_path / "images" / "train" / "000000.jpg",
        "train-00000064": tmp_path / "images" / "train" / "000064.jpg",
        "val-00000000": tmp_path / "images" / "val" / "000000.jpg",
        "videos-00000000": tmp_path / "videos" / "000000" / "000000.jpg",
        "videos-00000001": tmp_path / "videos" / "000001" / "000000.jpg",
    }
    times = {name: first[name].stat().st_mtime_ns for name in done}
    assert main(words) == 0
    assert contents(tmp_path) == contents(output)
    # a slice that was done is not drawn again
    assert {name: first[name].stat().st_mtime_ns for name in done} == times


def test_two_runs_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lakesight.scenes.folder import SceneFolder
    from workflows.scenes import Scenes

    settings = Scenes(output=str(tmp_path), num_images=1, num_val=0, size="64")
    with SceneFolder(tmp_path).bound(settings.plan()):
        assert main(["scenes", str(tmp_path), "--num-images", "1", "--num-val", "0",
                     "--size", "64"]) == 2  # fmt: skip
        assert "another run writes" in capsys.readouterr().err
