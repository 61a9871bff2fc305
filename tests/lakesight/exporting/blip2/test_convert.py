"""Graphs of a language model in fewer bits."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from lakesight.exporting.blip2.convert import quantise
from lakesight.runtimes.onnx_graph import external_files

Exported = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "graph", "bits", "count"),
    [
        ("blip2-opt", "decoder", 8, 2 * 6 + 1),
        ("blip2-opt", "decoder", 4, 2 * 6 + 1),
        pytest.param("blip2-t5", "encoder", 8, 2 * 7, marks=pytest.mark.slow),
        pytest.param("blip2-t5", "cross", 4, 2 * 2, marks=pytest.mark.slow),
        pytest.param("blip2-t5", "decoder", 8, 2 * 9 + 1, marks=pytest.mark.slow),
    ],
)
def test_all_that_is_multiplied_by_weights_has_fewer_bits(
    name: str, graph: str, bits: int, count: int, exported: Exported, tmp_path: Path
) -> None:
    for path in (exported(name) / "exports/onnx").glob(f"{graph}.onnx*"):
        shutil.copyfile(path, tmp_path / path.name)
    path = tmp_path / f"{graph}.onnx"
    size = sum(one.stat().st_size for one in tmp_path.iterdir())
    products = kinds(path)
    quantise(path, bits)
    after = kinds(path)
    assert after["MatMulNBits"] == count
    assert after["Gemm"] == 0
    assert after["MatMul"] == products["MatMul"] + products["Gemm"] - count, "attention's own stay"
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < size
    assert set(external_files(path)) == {one.name for one in tmp_path.iterdir()} - {path.name}


def kinds(path: Path) -> Counter[str]:
    """Return how many nodes of each operation there are."""
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
