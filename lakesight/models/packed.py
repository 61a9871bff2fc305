"""Linear layers whose weights lie in the order in which an x86 CPU multiplies them (oneDNN's).

torch keeps weights row by row. In bfloat16 it has oneDNN reorder them at every call, which at a
step of one token takes about as long as the product; in float32 it asks MKL, which on an AMD EPYC
does less than half of what oneDNN does. Reordered once, bfloat16 gives the same bits as before, and
float32 sums in another order, so its last digits differ. Figures: benchmarks/README.md.
"""

import platform
from typing import Any

import torch
from torch import Tensor, nn

X86 = {"x86_64", "AMD64"}
DTYPES = {torch.float32, torch.bfloat16}


class PackedLinear(nn.Module):
    """A linear layer to infer with, its weights reordered; it takes the memory of the original."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        # neither a parameter nor a buffer: in its own order, it can go nowhere else
        self.weight: Tensor = _ops()._reorder_linear_weight(layer.weight.detach())  # noqa: SLF001
        self.bias: Tensor | None = None if layer.bias is None else layer.bias.detach()

    def forward(self, given: Tensor) -> Tensor:
        """Map `(…, in)` to `(…, out)`."""
        product = _ops()._linear_pointwise  # noqa: SLF001 - what torch.compile calls, and no other name
        mapped: Tensor = product(given, self.weight, self.bias, "none", [], "")
        return mapped


def pack(model: Any) -> Any:
    """Reorder the weights of a model's linear layers, and return it, to infer only.

    Nothing changes off the CPU, where the CPU or the dtype is another, and in layers of a class of
    their own. Needs the memory of one layer more, and of the layers that were tied to embeddings.
    """
    for parent in [*model.modules()]:
        for name, child in parent.named_children():
            if type(child) is nn.Linear and can_pack(child.weight):
                setattr(parent, name, PackedLinear(child))
    return model


def can_pack(weight: Tensor) -> bool:
    """Return whether this CPU has a faster order for such weights."""
    onednn: Any = torch.backends.mkldnn
    if platform.machine() not in X86 or not onednn.is_available():
        return False
    if weight.device.type != "cpu" or weight.dtype not in DTYPES:
        return False
    return weight.dtype == torch.float32 or bool(_ops()._is_mkldnn_bf16_supported())  # noqa: SLF001


def _ops() -> Any:
    return torch.ops.mkldnn
