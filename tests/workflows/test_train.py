"""`lakesight train` on real Ray: several workers, a lost one, mistakes, and what comes out."""

import csv
import json
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

import lakesight
from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.models import catalog
from lakesight.models.yolo import folder as model_folder
from lakesight.training.binding import bind
from lakesight.training.loop import CHECKPOINT, STATE
from lakesight.training.yolo.job import TrainJob, fit, open_job_data
from tests.annotating import run, start, wait_until
from workflows.scenes import Scenes
from workflows.train import Train

pytestmark = pytest.mark.usefixtures("shared_ray")

SIDE = 64
SETTINGS = {"image_size": SIDE, "batch_size": 4, "nominal_batch": 8, "width": 0.125, "seed": 3}
FLAGS = [
    word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    Scenes(output=str(folder), num_images=16, num_val=4, size=str(SIDE), processes=1).run()
    return folder


def test_two_workers_train_into_a_bucket_and_annotate_sees_with_the_result(
    scenes: Path, tmp_path: Path, shared_bucket: str
) -> None:
    model = f"s3://{shared_bucket}/models/shapes"
    words = ["train", str(scenes), model, "--epochs", "2", "--num-workers", "2", "--json", *FLAGS]
    said = run(*words).splitlines()
    printed = json.loads(next(line for line in said if line.startswith("{")))
    epochs = [line.partition(":")[0] for line in said if line.startswith("epoch ")]
    assert epochs == ["epoch 1/2", "epoch 2/2"]
    store, prefix = Store.open(model)
    kept = {
        key.removeprefix(f"{prefix}/")
        for page in store.list(prefix)
        for key in page["key"].to_pylist()
    }
    state = {"best.pt", "evaluation.json", "last.pt", "results.csv", "settings.yaml"}
    assert {"card.json", "model.safetensors", *(f"{STATE}/{name}" for name in state)} <= kept
    plots = {"labels.png", "curves.png", "box_confusion.png", "samples.png"}
    assert {f"{STATE}/{name}" for name in plots} <= kept
    assert not any("/ray/" in name or "draft" in name or "lease" in name for name in kept)
    evaluation = json.loads(store.get(f"{prefix}/{STATE}/evaluation.json"))
    assert printed == {"model": model} | evaluation
    assert printed["results"]["box"]["num_pictures"] == 4
    assert catalog.resolve(model).metrics["fitness"] == round(printed["fitness"], 4)
    rows = csv.DictReader(store.get(f"{prefix}/{STATE}/results.csv").decode().splitlines())
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert "Nothing to do" in run(*words)

    card = catalog.resolve(model)
    assert (card.name, card.labels) == ("shapes", open_job_data(job(scenes)).train.labels)
    run("detect", str(scenes / "images" / "val"), str(tmp_path / "seen"), "--model", model)
    seen = lakesight.open(str(tmp_path / "seen")).dataset().to_table()
    assert seen["status"].to_pylist() == ["ok"] * 4


def job(scenes: Path, **more: object) -> TrainJob:
    return TrainJob.model_validate({"data": str(scenes)} | SETTINGS | more)


def test_a_lost_worker_costs_at_most_an_epoch_and_changes_nothing(
    scenes: Path, tmp_path: Path
) -> None:
    epochs = 6
    undisturbed = tmp_path / "undisturbed"
    fit(job(scenes, epochs=epochs), open_job_data(job(scenes)), undisturbed)

    model = tmp_path / "disturbed"
    words = ["train", str(scenes), str(model), "--epochs", str(epochs), *FLAGS]
    process = start(*words)
    try:
        kill_a_worker_after_the_first_epoch(process.pid, model)
        _, said = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert re.search(r"a worker was lost \(.*\); going on", said), said
    lasting = weights(model)
    for name, value in weights(undisturbed).items():
        np.testing.assert_allclose(lasting[name], value, rtol=1e-3, atol=1e-4)


def checkpoint(folder: Path) -> dict[str, Any]:
    import torch

    state: dict[str, Any] = torch.load(folder / STATE / CHECKPOINT, weights_only=True)
    return state


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in checkpoint(folder)["network"].items()}


def kill_a_worker_after_the_first_epoch(driver: int, model: Path) -> None:
    """Kill the process that trains, as soon as its first checkpoint is whole."""
    first = model / STATE / CHECKPOINT
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if first.is_file():
            for process in psutil.Process(driver).children(recursive=True):
                with suppress(psutil.Error):
                    if "RayTrainWorker" in " ".join(process.cmdline()):
                        process.kill()
                        return
        time.sleep(0.02)
    raise AssertionError("no worker was found that trains")


@pytest.mark.slow
def test_ctrl_c_is_told_and_what_is_trained_stays(scenes: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    words = ["train", str(scenes), str(model), "--epochs", "3", *FLAGS]
    process = start(*words)
    try:
        wait_until((model / STATE / CHECKPOINT).is_file, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "lakesight: interrupted; what is committed stays, run it again" in said
    assert "Traceback" not in said
    before = len(checkpoint(model)["progress"]["history"])
    said = run(*words)
    assert before == 3 or f"\ngoing on after epoch {before}\n" in said
    with (model / STATE / "results.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_is_one_line(scenes: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "2", "--learning-rate", "1e30", "--warmup-epochs", "0", *FLAGS]
    said = run("train", str(scenes), str(tmp_path / "m"), *flags, code=2)
    assert re.search(r"the (loss|gradient) is (nan|inf) in epoch", said)
    assert "ower the learning rate" in said
    assert "Traceback" not in said
    assert not (tmp_path / "m" / "card.json").exists()


def test_another_setting_in_the_same_folder_is_refused(scenes: Path, tmp_path: Path) -> None:
    assert not bind(job(scenes, epochs=2), tmp_path / "m")
    assert not bind(job(scenes, epochs=2), tmp_path / "m")
    with pytest.raises(UserError, match=r"other settings \(epochs: 2, now 3\)"):
        bind(job(scenes, epochs=3), tmp_path / "m")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        bind(job(scenes), tmp_path / "full")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    written = {"epochs": 7, "seed": 5, "augmentation": {"mosaic": 0.25, "mixup": 0.5}}
    path.write_text(yaml.safe_dump(written))
    given = {"seed": 6, "augmentation": {"mosaic": 0.75}}
    made = Train.model_validate({"data": "d", "output": "o", "config": path, **given}).job()
    assert isinstance(made, TrainJob)
    assert (made.epochs, made.seed) == (7, 6)
    assert (made.augmentation.mosaic, made.augmentation.mixup) == (0.75, 0.5)
    assert made.data == "d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: many", "epochs: Input should be a valid integer"),
        ("epoch: 3", "epoch: there is no such setting, did you mean epochs"),
        ("seed: -1", "seed: Input should be greater than or equal to 0"),
        ("- 1", "expected `NAME: VALUE`"),
        ("- epochs\n- seed", "expected `NAME: VALUE`"),
        ("many epochs", "expected `NAME: VALUE`"),
        ("1: 2", "Keys should be strings"),
        ("{", "cannot read"),
        ("name: größe", "cannot read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        Train(data="d", output="o", config=path).job()


def test_weights_of_other_classes_give_a_new_head(scenes: Path, tmp_path: Path) -> None:
    from lakesight.training.yolo.job import start as begin

    first = job(scenes, epochs=1)
    data = open_job_data(first)
    network = begin(first, data.train).network
    card = model_folder.save(
        tmp_path / "old",
        network.state_dict(),
        model_folder.Contract(**network.architecture.model_dump()),
        name="old",
        labels=data.train.labels,
        view=model_folder.view_of(network.architecture, SIDE),
        licences=catalog.built_in()["ssd-mobilenet-v2-coco"].licences,
        provenance="A test.",
    )
    again = job(scenes, weights=str(tmp_path / "old"), seed=8, width=None)
    made = begin(again, data.train)
    assert made.note == f"from old: {len(network.state_dict())} tensors taken, 0 new"
    assert made.licences.weights == f"{card.licences.weights} AND LicenseRef-own"
    assert all(
        (value == network.state_dict()[name]).all()
        for name, value in made.network.state_dict().items()
    )

    for name in ("width", "depth", "max_channels"):
        other = again.model_copy(update={name: 8})
        with pytest.raises(UserError, match=r"is to be 8, but that of old is .*: leave it out"):
            begin(other, data.train)
    theirs = {name: getattr(network.architecture, name) for name in ("width", "max_channels")}
    assert begin(again.model_copy(update=theirs), data.train).note == made.note

    pose = begin(
        again.model_copy(update={"task": "pose"}),
        open_job_data(again.model_copy(update={"task": "pose"})).train,
    )
    assert pose.network.architecture.num_keypoints == 8
    old = network.state_dict()
    fitting = [
        name
        for name, value in pose.network.state_dict().items()
        if name in old and value.shape == old[name].shape
    ]
    assert all((pose.network.state_dict()[name] == old[name]).all() for name in fitting)
    assert pose.note.startswith(f"from old: {len(fitting)} tensors taken")


def test_a_licence_that_is_not_accepted_stops_a_training(scenes: Path, tmp_path: Path) -> None:
    first = job(scenes)
    from lakesight.training.yolo.job import start as begin

    network = begin(first, open_job_data(first).train).network
    model_folder.save(
        tmp_path / "theirs",
        network.state_dict(),
        model_folder.Contract(**network.architecture.model_dump()),
        name="theirs",
        labels=open_job_data(first).train.labels,
        view=model_folder.view_of(network.architecture, SIDE),
        licences=catalog.built_in()["ssd-mobilenet-v2-coco"].licences.model_copy(
            update={"weights": "AGPL-3.0-only"}
        ),
        provenance="A test.",
    )
    with pytest.raises(UserError, match=r"AGPL-3\.0-only"):
        Train(data=str(scenes), output=str(tmp_path / "m"), weights=str(tmp_path / "theirs")).run()
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"track": ("wandb",)}, "tensorboard or mlflow"),
        ({"data": "nowhere"}, "has no pictures labelled for the task detect"),
        ({"weights": "ssd-mobilenet-v2-coco"}, "only yolo can be trained"),
        ({"augmentation": {"copy_paste": 0.5}}, "which detect does not read: leave"),
        ({"freeze": 23}, "has 23 layers, and 23 are to be frozen"),
    ],
)
def test_mistakes_are_found_before_ray_starts(
    scenes: Path, tmp_path: Path, flags: dict[str, object], message: str
) -> None:
    given = {"data": str(scenes), "output": str(tmp_path / "m"), "width": 0.125} | flags
    with pytest.raises(UserError, match=message):
        Train.model_validate(given).run()
    assert not (tmp_path / "m").exists()


def test_coco_without_others_to_validate_on_is_refused(scenes: Path, tmp_path: Path) -> None:
    data = scenes / "annotations" / "instances_train.json"
    with pytest.raises(UserError, match="name others to validate on with --val"):
        Train(data=str(data), output=str(tmp_path / "m")).run()
