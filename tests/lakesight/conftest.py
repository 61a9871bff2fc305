"""Exports of tiny BLIP-2s, which several packages run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import export
from tests.lakesight.models import tiny

FORMATS = {
    "blip2-opt": ["onnx", "onnx-int8", "onnx-int4"],
    "blip2-t5": ["onnx", "onnx-int8"],
    "blip2-itc": ["onnx"],
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny checkpoint with exports in it, written once: do not change it."""
    root = tmp_path_factory.mktemp("exported")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            plain = tiny.write(name, tmp_path_factory.mktemp(name) / name)
            export(str(plain), FORMATS[name], root / name, ExportOptions(num_views=2))
        return root / name

    return folder
