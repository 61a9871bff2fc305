"""LoRA on a language model, by peft (https://arxiv.org/abs/2106.09685)."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from lakesight.errors import UserError


def add_lora(model: nn.Module, rank: int) -> None:
    """Put small matrices beside those of the attention; only they learn. In place."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise UserError("lora needs peft: pip install 'lakesight[lora]'") from error
    names = [name for name, part in model.named_modules() if _is_attention(name, part)]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
    LoraModel(model, config, "default")


def merge_lora(model: nn.Module) -> None:
    """Add the small matrices to those that they are beside. In place; then nothing tells."""
    for parent, name, layer in list(_lora_layers(model)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())


def _lora_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    from peft.tuners.lora import LoraLayer

    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, LoraLayer):
                yield parent, name, child


def _is_attention(name: str, part: nn.Module) -> bool:
    """Return whether a layer makes queries or values, as OPT or T5 calls them."""
    return isinstance(part, nn.Linear) and name.rpartition(".")[2] in {"q_proj", "v_proj", "q", "v"}
