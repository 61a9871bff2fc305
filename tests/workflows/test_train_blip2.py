"""`lakesight train --task retrieve` on real Ray, and search by words with what comes out."""

import json
from pathlib import Path

import numpy as np
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


@pytest.mark.timeout(900)
def test_two_workers_train_what_finds_and_one_what_writes(
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

    seen, index = str(tmp_path / "seen"), str(tmp_path / "index")
    every = ("--set", "embed.queries=all", "--set", "embed.vector_dtype=float32")
    run("embed", str(scenes / "images" / "val"), seen, "--model", str(model), *every)
    run("index", seen, index, "--column", "embeddings")
    said = run("search", index, "a red circle", "-k", "4", "--json").splitlines()
    found = [json.loads(line) for line in said if line.startswith("{")]
    paths = sorted((scenes / "images" / "val").iterdir())
    finder = lakesight.load(str(model), queries="all", vector_dtype="float32")
    vectors = np.array(finder.predict(list(map(str, paths))).column.to_pylist())  # (4, Q, D)
    scores = (vectors @ finder.embed_text(["a red circle"])[0]).max(axis=1)
    expected = dict(zip((path.as_uri() for path in paths), scores.tolist(), strict=True))
    assert [hit["uri"] for hit in found] == sorted(expected, key=lambda uri: -expected[uri])
    assert [hit["score"] for hit in found] == pytest.approx(sorted(scores)[::-1], abs=1e-6)

    writer = tmp_path / "writer"
    words = ["train", str(scenes), str(writer), "--task", "write", "--weights", str(model)]
    words += ["--epochs", "1", "--batch-size", "8", "--no-freeze-language"]
    words += ["--size.transformer.width", "16", "--size.transformer.heads", "2"]
    said = run(*words).splitlines()
    assert [line.partition(":")[0] for line in said if line.startswith("epoch ")] == ["epoch 1/1"]
    run("caption", str(scenes / "images" / "val"), str(tmp_path / "told"), "--model", str(writer))
    rows = lakesight.open(str(tmp_path / "told")).dataset().to_table()
    assert rows["status"].to_pylist() == ["ok"] * 4
