"""`lakesight train --task retrieve` and `--task write` on real Ray, and what comes out."""

import json
from pathlib import Path

import pytest
import yaml

import lakesight
from lakesight.models import catalog
from lakesight.training.loop import STATE
from tests.annotating import run
from workflows.scenes import Scenes

pytestmark = pytest.mark.usefixtures("shared_ray")

SMALL = {"width": 16, "layers": 2, "heads": 2}
SETTINGS = {
    "task": "retrieve",
    "batch_size": 4,
    "max_tokens": 24,
    "freeze_vision": False,
    "size": {
        "image_size": 32,
        "patch_size": 8,
        "vision": SMALL,
        "qformer": SMALL,
        "num_queries": 3,
        "shared": 8,
    },
}


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.timeout(900)
def test_two_workers_train_what_finds_and_what_writes(
    tmp_path: Path,
) -> None:
    scenes, config, model = tmp_path / "scenes", tmp_path / "finder.yaml", tmp_path / "finder"
    Scenes(output=str(scenes), num_images=16, num_val=4, size="64", processes=1).run()
    config.write_text(yaml.safe_dump(SETTINGS))
    words = ["train", str(scenes), str(model), "--config", str(config), "--epochs", "1"]
    said = run(*words, "--num-workers", "2", "--json").splitlines()
    printed = json.loads(next(line for line in said if line.startswith("{")))
    assert printed == {"model": str(model)} | json.loads(
        (model / STATE / "evaluation.json").read_text()
    )
    assert "Nothing to do" in run(*words)
    assert catalog.resolve(str(model)).metrics["retrieval/text_to_image_r10"] == 1  # among 4

    judged = lakesight.load(str(model)).evaluate(str(scenes))
    assert judged.figures()["retrieval/text_to_image_r1"] == pytest.approx(
        printed["results"]["retrieval"]["text_to_image_r1"]
    )

    writer = tmp_path / "writer"
    words = ["train", str(scenes), str(writer), "--task", "write", "--weights", str(model)]
    words += ["--epochs", "1", "--no-freeze-language", "--num-workers", "2"]
    words += ["--batch-size", "4", "--nominal-batch", "16", "--precision", "bf16"]
    words += ["--size.transformer.width", "16", "--size.transformer.heads", "2"]
    words += ["--track", "tensorboard"]
    said = run(*words).splitlines()
    assert [line.partition(":")[0] for line in said if line.startswith("epoch ")] == ["epoch 1/1"]
    assert list(writer.rglob("events.out.tfevents.*"))
    paths = sorted(map(str, (scenes / "images" / "val").iterdir()))
    captions = lakesight.load(str(writer)).predict(paths).column
    assert [type(text) for text in captions.to_pylist()] == [str] * 4
