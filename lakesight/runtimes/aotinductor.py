"""AOTInductor: the network as machine code of the kind of CPU that it was compiled on.

Opening such a file runs what is in it: `auto` never does.
"""

import io
from pathlib import Path

import torch

from lakesight.models.base import RuntimeName
from lakesight.runtimes.base import CompiledElsewhereError, Network, RuntimeOptions
from lakesight.runtimes.one_by_one import Floats, OneByOne


class AotInductor(OneByOne):
    """A compiled network on torch's libraries; threads as `torch.set_num_threads` says."""

    name: RuntimeName = "aotinductor"

    def __init__(self, path: Path, network: Network, options: RuntimeOptions) -> None:
        super().__init__(network, options)
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        from torch._inductor import aoti_load_package

        try:
            self._net = aoti_load_package(io.BytesIO(path.read_bytes()))
        except RuntimeError as error:
            raise CompiledElsewhereError(
                f"{path.name} does not load into torch {torch.__version__} on this CPU: export it "
                "again, here"
            ) from error

    @torch.inference_mode()
    def _run(self, values: Floats) -> list[Floats]:
        return [each.float().numpy().copy() for each in self._net(torch.from_numpy(values))]
