"""AOTInductor: C++ of the network, compiled for this machine's kind of CPU."""

import shutil
from pathlib import Path

import torch

from lakesight.errors import UserError
from lakesight.exporting.base import Source, Written, quietly

MAIN = "model.aoti"
SETTINGS = {"aot_inductor.compile_wrapper_opt_level": "O0"}
"""Of the compiler: what only calls the kernels takes half the time, and gains nothing."""


def convert(source: Source, folder: Path) -> Written:
    """Write a package for `torch._inductor.aoti_load_package`; one picture of the view's size."""
    if not any(map(shutil.which, ("g++", "clang++"))):
        raise UserError("AOTInductor needs a C++ compiler: apt-get install g++")
    with quietly():
        from torch._inductor import aoti_compile_and_package

        program = torch.export.export(source.module, (source.example(),))
        package = source.scratch / "aoti.pt2"  # the compiler insists on this ending
        aoti_compile_and_package(program, package_path=str(package), inductor_configs=SETTINGS)
    shutil.move(package, folder / MAIN)
    return Written(MAIN)
