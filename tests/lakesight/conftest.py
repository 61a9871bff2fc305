"""Exports of tiny BLIP-2s, which several packages run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

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
    """Return the folder of a tiny checkpoint with exports in it: do not change it.

    It is written once, whatever the number of pytest's processes: that takes half a minute.
    """
    own = tmp_path_factory.mktemp("exported")
    root = own.parents[1] / "exported" if "PYTEST_XDIST_WORKER" in os.environ else own
    root.mkdir(exist_ok=True)

    def folder(name: str) -> Path:
        with FileLock(root / f"{name}.lock"):
            if not (root / name).exists():
                plain = tiny.write(name, tmp_path_factory.mktemp(name) / name)
                export(str(plain), FORMATS[name], root / name, ExportOptions(num_views=2))
        return root / name

    return folder
