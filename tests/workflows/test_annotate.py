"""`lakesight annotate`, as a process of its own, on real weights."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import lakesight
from benchmarks.nothing import make_nothing
from lakesight.lake.store import Store
from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.models import catalog
from lakesight.schemas import ROW
from tests.annotating import MODEL, assert_exactly_once, command, picture, run
from workflows.__main__ import main
from workflows.demo import open_photo
from workflows.s3_server import S3Server

pytestmark = pytest.mark.usefixtures("shared_ray")

PACKAGED = [
    "--detect", MODEL, "--pose", "movenet-lightning",
    "--classify", "efficientnet-lite3", "--embed", "efficientnet-lite3",
]  # fmt: skip


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real photos, one with nothing on it, and one that is broken."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("astronaut.png", "chelsea.png"):
        open_photo("skimage.data", name).save(folder / f"{Path(name).stem}.jpg", quality=92)
    Image.new("RGB", (64, 48), "white").save(folder / "nothing.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


@pytest.fixture(scope="module")
def printed(few: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of all packaged models over `few` printed with --json."""
    output = str(tmp_path_factory.mktemp("out") / "seen")
    words = command("annotate", str(few), output, *PACKAGED, "--json")
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=True)
    return {"output": output, **json.loads(done.stdout)}


@pytest.fixture(scope="module")
def seen(printed: dict[str, Any]) -> str:
    """The output of that run."""
    return str(printed["output"])


@pytest.fixture
def copy(seen: str, tmp_path: Path) -> str:
    """A copy of that output, to be changed."""
    shutil.copytree(seen, tmp_path / "copy")
    return str(tmp_path / "copy")


def rows_by_name(output: str) -> dict[str, dict[str, object]]:
    rows = lakesight.open(output).dataset().to_table().to_pylist()
    return {row["uri"].rpartition("/")[2]: row for row in rows}


def test_every_picture_has_one_row_of_the_declared_types(seen: str) -> None:
    assert_exactly_once(seen, 4)
    schema = lakesight.open(seen).dataset().schema
    assert schema.names == [*ROW.names, "detections", "classes", "embedding"]
    assert [schema.field(name).type for name in ROW.names] == ROW.types
    assert schema.field("embedding").type == pa.list_(pa.float16(), 1280)


def test_values_are_those_of_the_model_itself(seen: str, few: Path) -> None:
    rows = rows_by_name(seen)
    detector = catalog.build(catalog.spec(MODEL, "detect"))
    embedder = catalog.build(catalog.spec("efficientnet-lite3", "embed"))
    for name in ("astronaut.jpg", "chelsea.jpg", "nothing.png"):
        data = (few / name).read_bytes()
        decoded = decode(data, [detector.view, embedder.view], Limits())
        size = pa.table({"width": [decoded.width], "height": [decoded.height]})
        (found,) = detector.predict([decoded.views[0]], size).to_pylist()
        got = [{**one, "keypoints": None} for one in rows[name]["detections"]]  # type: ignore[attr-defined]
        assert got == [{**one, "keypoints": None} for one in found]
        (vector,) = embedder.predict([decoded.views[1]], size).to_pylist()
        assert rows[name]["embedding"] == vector
        assert (rows[name]["width"], rows[name]["height"]) == (decoded.width, decoded.height)


def test_it_sees_what_is_there(seen: str) -> None:
    rows = rows_by_name(seen)
    labels = {
        name: {one["label"]: one for one in row["detections"] or []}  # type: ignore[attr-defined]
        for name, row in rows.items()
    }
    assert "cat" in labels["chelsea.jpg"]
    person = labels["astronaut.jpg"]["person"]
    left, top, right, bottom = person["box"]
    nose = person["keypoints"][0]
    assert left < nose[0] < right
    assert top < nose[1] < bottom
    assert rows["nothing.png"]["detections"] == []
    assert rows["nothing.png"]["status"] == "ok"
    assert np.linalg.norm(
        np.asarray(rows["chelsea.jpg"]["embedding"], np.float64)
    ) == pytest.approx(1, abs=1e-3)


def test_a_broken_picture_is_an_error_row(seen: str) -> None:
    row = rows_by_name(seen)["broken.jpg"]
    assert row["status"] == "error"
    assert row["error"]["stage"] == "decode"  # type: ignore[index]
    assert row["detections"] is None
    assert row["embedding"] is None


def test_a_run_is_recorded_and_printed(seen: str, printed: dict[str, Any]) -> None:
    (record,) = lakesight.open(seen).runs()
    assert printed == record | {"output": seen, "pieces_pending": 0}
    assert record["rows"] == 4
    assert record["errors"] == {"decode": 1}
    rows = {name: tally["rows"] for name, tally in record["stages"].items()}
    assert rows == {"read": 4, "detect": 3, "pose": 3, "classify": 3, "embed": 3}
    assert {tally["runs_on"] for tally in record["stages"].values()} == {"", "openvino on cpu"}
    assert [spec["card"]["name"] for spec in record["settings"]["models"]] == PACKAGED[1::2]


def test_only_what_is_new_or_changed_is_looked_at(tmp_path: Path) -> None:
    source, output = tmp_path / "photos", str(tmp_path / "seen")
    source.mkdir()
    for name in ("0.jpg", "1.jpg", "2.jpg", "a,b.jpg"):
        picture(ord(name[0])).save(source / name)
    words = ["annotate", str(source), output, "--detect", MODEL, "--exclude=a,b.jpg"]
    assert "Wrote 3 rows" in run(*words)
    assert "Nothing new" in run(*words)
    picture(3).save(source / "3.jpg")
    picture(9).resize((50, 40)).save(source / "1.jpg")
    said = run(*words)
    assert "4 listed, 2 of them known, 2 to look at" in said
    assert "Wrote 2 rows" in said
    lake = lakesight.open(output)
    assert lake.dataset().count_rows() == 5
    latest = lake.latest().read_all().to_pylist()
    sizes = {row["uri"].rpartition("/")[2]: row["width"] for row in latest}
    assert sizes == {"0.jpg": 160, "1.jpg": 50, "2.jpg": 160, "3.jpg": 160}


def test_pools_on_their_own_give_the_same_values(few: Path, seen: str, tmp_path: Path) -> None:
    """With a GPU, pixels travel to the models through Ray; here the same way is taken on CPUs."""
    output = str(tmp_path / "seen")
    run("annotate", str(few), output, *PACKAGED, "--separate-pools")
    apart, together = rows_by_name(output), rows_by_name(seen)
    for row in (*apart.values(), *together.values()):
        del row["run_id"]
    assert apart == together


def test_an_object_that_cannot_be_read_is_a_row_among_others(
    few: Path, copy: str, new_bucket: Callable[[], str], tmp_path: Path
) -> None:
    """Even where it is alone in its piece, as the one new object of a night may be."""
    uris = [(few / "chelsea.jpg").as_uri(), f"s3://{new_bucket()}-gone/a.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    said = run("annotate", str(tmp_path / "list.txt"), copy, *PACKAGED)
    assert "2 listed, 1 of them known, 1 to look at" in said
    error = rows_by_name(copy)["a.jpg"]["error"]
    assert error["type"] in ("no bucket", "not found")  # type: ignore[index]  # by the server


MISTAKES = {
    "unknown model": (["annotate", "{few}", "{out}", "--detect", "ssd-mobilenet-v3-coco"],
                      "did you mean ssd-mobilenet-v2-coco"),
    "wrong kind": (["annotate", "{few}", "{out}", "--caption", MODEL],
                   "expected a model of kind caption"),
    "no model": (["annotate", "{few}", "{out}"], "no model was asked for"),
    "no folder": (["annotate", "{few}/nowhere", "{out}", "--detect", MODEL], "nowhere"),
    "no bucket": (["annotate", "s3://no-such-bucket-here/", "{out}", "--detect", MODEL],
                  "no-such-bucket-here"),
    "unknown option": (["annotate", "{few}", "{out}", "--detect", MODEL, "--set", "detect.foo=1"],
                       "foo"),
    "option of nothing": (["annotate", "{few}", "{out}", "--detect", MODEL, "--set", "embed.x=1"],
                          "the models asked for: detect"),
    "not a number": (["annotate", "{few}", "{out}", "--detect", MODEL, "--batch-size", "many"],
                     "--batch-size"),
    "one column twice": (["annotate", "{few}", "{out}", "--detect", MODEL, "--detect", MODEL],
                         "two models would write the column 'detections'"),
    "a column of every row": (["annotate", "{few}", "{out}", "--detect", f"uri={MODEL}"],
                              "every row has it"),
    "pose of nothing": (["annotate", "{few}", "{out}", "--pose", "movenet-lightning"],
                        "give --detect too"),
    "option of no column": (["annotate", "{few}", "{out}", "--detect", f"a={MODEL}",
                             "--set", "b.score_threshold=1"], "the models asked for: a, detect"),
    "a column for pose": (["annotate", "{few}", "{out}", "--detect", MODEL,
                           "--pose", "a=movenet-lightning"], "give it no other name"),
    "two poses": (["annotate", "{few}", "{out}", "--detect", MODEL,
                   "--pose", "movenet-lightning", "--pose", "movenet-lightning"],
                  "give one --pose"),
    "pose of another column": (["annotate", "{few}", "{out}", "--detect", f"cars={MODEL}",
                                "--pose", "movenet-lightning"], "without another column"),
    "runtime": (["annotate", "{few}", "{out}", "--detect", MODEL, "--runtime", "onnxruntime"],
                "onnxruntime does not read"),
    "no GPU": (["annotate", "{few}", "{out}", "--detect", "{bare}", "--runtime", "tensorrt"],
               "pip install 'lakesight[gpu]'"),
    "no weights": (["annotate", "{few}", "{out}", "--detect", "{bare}"], "are missing from"),
    "no cluster": (["annotate", "{few}", "{out}", "--detect", MODEL, "--address", "127.0.0.1:9"],
                   "cannot join the Ray cluster at '127.0.0.1:9'"),
    "empty source": (["annotate", "{out}", "{out}", "--detect", MODEL], "no"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_writes_nothing(
    few: Path,
    tmp_path: Path,
    s3_server: S3Server,
    mistake: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, expected = MISTAKES[mistake]
    output, bare = tmp_path / "out", tmp_path / "bare"
    make_nothing(bare)
    if mistake == "no weights":
        (bare / "model.onnx").unlink()
    assert main([word.format(few=few, out=output, bare=bare) for word in words]) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert len(said.err.strip().splitlines()) == 1, said
    assert not said.out
    assert not output.exists()


def test_what_an_actor_refuses_is_one_clear_line(few: Path, tmp_path: Path) -> None:
    """Weights are opened, and so checked, where they run: here in an actor."""
    folder = tmp_path / "model"
    make_nothing(folder)
    (folder / "model.onnx").write_bytes(b"something else")
    said = run("annotate", str(few), str(tmp_path / "seen"), "--detect", str(folder), code=2)
    line = said.strip().splitlines()[-1]
    assert line.startswith("lakesight: ")
    assert "model.onnx" in line
    assert len(said.strip().splitlines()) == 3, said  # by what, on how many, and the refusal


def test_a_wrong_source_of_a_good_output_is_no_success(copy: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "there is nothing at" in run("annotate", f"{tmp_path}/empty", copy, *PACKAGED, code=2)


def test_an_output_where_no_folder_can_be_is_one_clear_line(few: Path) -> None:
    said = run("annotate", str(few), "/proc/seen", "--detect", MODEL, code=2)
    assert "cannot make the folder file:///proc/seen" in said
    assert len(said.strip().splitlines()) == 1, said


def test_other_settings_are_refused(few: Path, seen: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(seen).rglob("*") if path.is_file()}
    said = run("annotate", str(few), seen, "--detect", MODEL, code=2)
    assert "made with other settings" in said
    after = {path: path.stat().st_mtime_ns for path in Path(seen).rglob("*") if path.is_file()}
    assert after == before


def test_settings_that_say_the_same_in_other_words_are_taken(few: Path, copy: str) -> None:
    """A model's card may be reworded, and an option be added: old outputs stay as good as new."""
    words = ["annotate", str(few), copy, *PACKAGED]
    file = Path(copy) / "_commits" / "00000.json"
    stored = json.loads(file.read_text())
    model = stored["settings"]["models"][0]
    model["card"]["provenance"] = "Said in another way."
    model["card"]["licences"]["data"] = "CC-BY-4.0"
    del model["options"]["iou_threshold"], stored["settings"]["limits"]["max_seconds"]
    file.write_text(json.dumps(stored))
    assert "Nothing new" in run(*words)
    model["card"]["sha256"]["frozen_inference_graph.pb"] = "0" * 64
    file.write_text(json.dumps(stored))
    assert "models.detect.model.sha256" in run(*words, code=2)
    model["no such field"] = 1
    file.write_text(json.dumps(stored))
    assert "another version of Lakesight" in run(*words, code=2)


def test_what_is_pending_is_finished_though_its_source_is_empty(tmp_path: Path) -> None:
    source, output = tmp_path / "photos", tmp_path / "seen"
    source.mkdir()
    for seed in range(3):
        picture(seed).save(source / f"{seed}.jpg")
    words = ["annotate", str(source), str(output), "--detect", MODEL, "--rows-per-file", "2"]
    run(*words)
    (output / "data" / "00001-000001.parquet").unlink()
    for path in source.iterdir():
        path.unlink()
    assert "0 listed, 0 of them known, 1 to look at" in run(*words)
    errors = {name: row["error"] for name, row in rows_by_name(str(output)).items()}
    assert errors == {
        "0.jpg": None,
        "1.jpg": None,
        "2.jpg": {"stage": "fetch", "type": "not found", "message": "does not exist any more"},
    }


def test_two_models_of_a_kind_have_options_of_their_own(few: Path, tmp_path: Path) -> None:
    models = ["--detect", f"few={MODEL}", "--detect", f"many={MODEL}"]
    options = ["--set", "few.max_detections=1", "--set", "detect.score_threshold=0.1"]
    run("annotate", str(few), str(tmp_path / "seen"), *models, *options)
    row = rows_by_name(str(tmp_path / "seen"))["astronaut.jpg"]
    assert row["few"] == row["many"][:1]  # type: ignore[index]
    assert len(row["many"]) > 1  # type: ignore[arg-type]


def test_a_reader_key_cannot_write(
    few: Path, new_bucket: Callable[[], str], s3_server: S3Server
) -> None:
    bucket = new_bucket()
    output = f"s3://{bucket}/seen"
    reader = {
        "AWS_ACCESS_KEY_ID": s3_server.reader_access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.reader_secret_key,
    }
    said = run("annotate", str(few), output, "--detect", MODEL, code=2, **reader)
    assert len(said.strip().splitlines()) == 1, said
    store, prefix = Store.open(output)
    assert not [page for page in store.list(prefix) if page.num_rows]
