"""What `benchmarks.serve` serves: the models, the pictures, and how wrk sends them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import export
from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.training import FirstStageTraining
from workflows.scenes import Scenes

NUM_PICTURES = 32
SIDE = 640
"""Of a picture, in pixels."""
EMBEDDER: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 32,
    "vision": {"width": 384, "layers": 12, "heads": 6},
    "qformer": {"width": 192, "layers": 4, "heads": 3},
    "num_queries": 8,
    "shared": 128,
}
SCRIPT = """
local requests, number = {{}}, 0
function init()
  for place = 0, {count} - 1 do
    local file = io.open(string.format("{folder}/%03d.jpg", place), "rb")
    local headers = {{["Content-Type"] = "image/jpeg"}}
    requests[#requests + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end
function request()
  number = number % #requests + 1
  return requests[number]
end
"""


def drawn(folder: Path) -> Path:
    """Write the pictures, and the script that has wrk send them; return the script."""
    pictures, scenes = folder / "pictures", folder / "asked"
    Scenes(output=str(scenes), num_images=0, num_val=NUM_PICTURES, size=str(SIDE), seed=1).run()
    pictures.mkdir()
    for number, path in enumerate(sorted((scenes / "images" / "val").iterdir())):
        path.rename(pictures / f"{number:03}.jpg")
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(count=NUM_PICTURES, folder=pictures))
    return script


def detector(folder: Path) -> Path:
    """Return an exported YOLO."""
    export("starter-yolo-detect", ["onnx"], folder / "detect", ExportOptions(num_views=2))
    return folder / "detect"


def embedder(folder: Path) -> Path:
    """Return an exported first stage of BLIP-2, of random weights."""
    scenes, plain = str(folder / "scenes"), folder / "plain"
    Scenes(output=scenes, num_images=2, num_val=2).run()
    job = {"data": scenes, "size": EMBEDDER, "epochs": 1, "max_tokens": 32, "freeze_vision": False}
    training = FirstStageTraining(FirstStageJob.model_validate(job))
    training.write_whole(training.begin(), plain)
    (plain / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    export(str(plain), ["onnx"], folder / "embed", ExportOptions(num_views=2))
    return folder / "embed"


MAKERS: Mapping[str, Callable[[Path], Path]] = {"detect": detector, "embed": embedder}
OPTIONS: Mapping[str, dict[str, Any]] = {"detect": {}, "embed": {"queries": "all"}}
