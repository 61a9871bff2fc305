"""Each format of an engine that takes one picture a call: converted, run, held against torch."""

import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lakesight.exporting import parity
from lakesight.exporting.base import Source, Written
from lakesight.exporting.formats import parse
from lakesight.models.base import Image
from lakesight.models.yolo.architecture import Task
from lakesight.models.yolo.model import in_order
from lakesight.runtimes.base import Network, RuntimeOptions, Tensors
from lakesight.runtimes.engines import readers
from lakesight.runtimes.executorch import POOL, ExecuTorch
from tests import yolo_folders
from tests.yolo_folders import by_torch

Sources = Callable[[Task], Source]


def needs(module: str) -> pytest.MarkDecorator:
    """Skip where a converter is missing that dev leaves out for its size or its pins."""
    reason = f"{module} is not part of dev: docs/export.md"
    return pytest.mark.skipif(find_spec(module) is None, reason=reason)


# Every head but detect's, which the others have inside, where a conversion is quick; ExecuTorch and
# AOTInductor take their time.
CASES = [
    ("ncnn", "segment"),
    ("ncnn", "pose"),
    ("ncnn", "obb"),
    ("mnn", "segment"),
    ("mnn", "obb"),
    pytest.param("aotinductor", "classify", marks=pytest.mark.slow),
    pytest.param("litert", "segment", marks=needs("litert_torch")),
    pytest.param("tf-savedmodel", "segment", marks=needs("tensorflow")),
]


def pictures() -> list[Image]:
    """Return pictures of the kind that the network has its statistics from."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (3, 3, 3, 3), np.uint8)
    return list(blocks.repeat(yolo_folders.SIDE // 3, 1).repeat(yolo_folders.SIDE // 3, 2))


def converted(source: Source, name: str, folder: Path) -> Written:
    wanted = parse(name)
    return wanted.format.load()(replace(source, precision=wanted.precision), folder)


def by_engines(written: Written, folder: Path, images: list[Image]) -> list[Tensors]:
    """Return what each engine that reads the format gives, one picture by one."""
    network = Network(width=96, height=96, layout=written.layout, scale=(255.0,) * 3)
    answers = []
    for engine in readers(written.main):
        runtime = engine.open(folder / written.main, network, RuntimeOptions(num_threads=1))
        together, alone = runtime.infer(images), runtime.infer(images[1:2])
        for each, tensor in alone.items():
            np.testing.assert_array_equal(tensor, together[each][1:2])
        answers.append(in_order(together))
    assert answers
    return answers


@pytest.mark.parametrize(("name", "task"), CASES)
def test_gives_what_the_weights_give(
    name: str, task: Task, tiny_source: Sources, tmp_path: Path
) -> None:
    source, images = tiny_source(task), pictures()
    for found in by_engines(converted(source, name, tmp_path), tmp_path, images):
        differences = parity.of_tensors(source.contract, by_torch(source, images), found)
        assert differences.beyond() is None


@pytest.fixture(scope="module")
def program(tiny_source: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose network as ExecuTorch has it, converted once."""
    folder = tmp_path_factory.mktemp("program")
    return folder / converted(tiny_source("pose"), "executorch", folder).main


@pytest.mark.slow
def test_executorch_gives_what_the_weights_give(program: Path, tiny_source: Sources) -> None:
    source, images = tiny_source("pose"), pictures()
    (found,) = by_engines(Written(program.name), program.parent, images)
    assert parity.of_tensors(source.contract, by_torch(source, images), found).beyond() is None


@pytest.mark.slow
def test_programs_of_executorch_take_turns(program: Path) -> None:
    """They share threads, which each keeps a pointer to: the first one's are everybody's."""
    network = Network(width=96, height=96, layout="NCHW", scale=(255.0,) * 3)
    one, two = (ExecuTorch(program, network, RuntimeOptions(num_threads=n)) for n in (1, 2))
    images = pictures()[:1]
    found: list[Tensors] = []
    with POOL:  # as while a third one is loaded
        waiting = threading.Thread(target=lambda: found.append(one.infer(images)))
        waiting.start()
        waiting.join(0.5)
        assert found == []
    waiting.join()
    wanted = two.infer(images)
    for name, tensor in found[0].items():
        np.testing.assert_allclose(tensor, wanted[name], atol=1e-4)


@pytest.mark.parametrize("name", ["ncnn-f16", "mnn-f16"])
def test_half_the_bytes_are_nearly_as_good(name: str, tiny_source: Sources, tmp_path: Path) -> None:
    source, images = tiny_source("segment"), pictures()
    (found,) = by_engines(converted(source, name, tmp_path), tmp_path, images)
    differences = parity.of_tensors(source.contract, by_torch(source, images), found)
    assert differences.score.absolute < 0.05
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    weights = sum(tensor.nbytes for tensor in source.module.state_dict().values())
    assert size < 0.6 * weights
