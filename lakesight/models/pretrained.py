"""A transformers checkpoint on a device: its options, its weights, its pixels."""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.base import Frozen, Image, ModelCard, RuntimeName
from lakesight.models.preprocessor import Preprocessor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# transformers imports torchao where it is installed (ExecuTorch brings it), and that says of itself
# what it lacks here, which nothing of ours uses
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")


class TorchOptions(Frozen):
    """Where and how precisely a transformers model computes."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on the CPU, bfloat16 on a GPU."""
    num_threads: int | None = Field(default=None, ge=1, exclude=True)
    """CPU threads of this process; torch's own choice unless given."""

    def torch_device(self) -> torch.device:
        """Return the device. Raises `UserError` if a GPU is asked for and torch sees none."""
        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise UserError(
                "device=cuda was asked for, but torch sees no GPU: install a CUDA build of torch "
                "and a driver, or use device=auto"
            )
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")

    def torch_dtype(self) -> torch.dtype:
        """Return the dtype of the weights."""
        if self.dtype != "auto":
            return DTYPES[self.dtype]
        return torch.bfloat16 if self.torch_device().type == "cuda" else torch.float32


FLOAT32 = TorchOptions(device="cpu", dtype="float32")
"""Of weights that are trained on, or exported."""


class WriterOptions(TorchOptions):
    """Where and how precisely a model that writes computes."""

    precision: Literal["f32", "int8", "int4"] = "f32"
    """int8, int4: the export whose language model has such weights (`lakesight export`)."""


def on_cpu(options: TorchOptions) -> TorchOptions:
    """Return the options of tensors that go into an export."""
    return options.model_copy(update={"device": "cpu", "dtype": "float32"})


class Pixels(nn.Module):
    """Views to a normalised batch, on the device: bytes cross to it, floats are made there."""

    def __init__(self, preprocessor: Preprocessor, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.device, self.dtype = device, dtype
        scale, mean, std = preprocessor.scale, preprocessor.mean, preprocessor.std
        self.gain = torch.tensor([scale / s for s in std], device=device).view(1, 3, 1, 1)
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.shift = torch.tensor(shift, device=device).view(1, 3, 1, 1)

    def forward(self, views: Sequence[Image]) -> Tensor:
        """Turn N `(H, W, 3)` uint8 views into `(N, 3, H, W)` of the model's dtype."""
        pixels = torch.from_numpy(np.stack(views)).to(self.device)
        return (pixels.permute(0, 3, 1, 2) * self.gain + self.shift).to(self.dtype)


def require_torch(card: ModelCard, runtime: RuntimeName) -> None:
    """Raise `UserError` unless the runtime is torch or auto: these families know no other."""
    if runtime not in ("auto", "torch"):
        raise UserError(
            f"{card.name} was asked to run on {runtime}, but the family {card.family!r} runs on "
            "torch only: leave the runtime at auto"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json. Raises `UserError` if the folder has none or does not say its type."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is no transformers checkpoint: expected a readable config.json in it "
            f"({type(error).__name__})"
        ) from error
    if "model_type" not in config:
        raise UserError(f"{path} has no model_type: expected the config that transformers wrote")
    return config


def load_weights(loader: Any, folder: Path, options: TorchOptions) -> Any:
    """Return the folder's model from `loader` (a transformers class), ready to infer.

    Opens safetensors only and never the network; attention is transformers' default, sdpa. Raises
    `UserError` if the weights are missing or do not cover the model, which transformers would fill
    with random numbers.
    """
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    with _quiet():
        model, info = _from_pretrained(loader, folder, options.torch_dtype())
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"the weights of {folder.name} lack {len(missing)} tensors of the model, such as "
            f"{missing[0]}: expected a whole checkpoint; convert or download it again"
        )
    return model.to(options.torch_device()).eval()


def _from_pretrained(loader: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    try:
        model, info = loader.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except OSError as error:
        raise UserError(
            f"cannot load the weights of {folder.name}: expected model.safetensors (pickles are "
            f"never opened). {str(error).partition(chr(10))[0]}"
        ) from error
    return model, info


def require_finite(tensor: Tensor) -> Tensor:
    """Return the tensor in float32. Raises `ValueError` for NaN or infinity in it.

    Written down as they come, they would read as a picture with nothing in it.
    """
    if not tensor.isfinite().all():
        raise ValueError(
            f"the model gave numbers that are not finite, computing in {tensor.dtype}: its weights "
            "may be damaged, or too large for that; try dtype=float32"
        )
    return tensor.float()


def load_tokenizer(folder: Path) -> Any:
    """Return the folder's tokenizer. Raises `UserError` if it has none."""
    from transformers import AutoTokenizer

    # Without a vocabulary transformers makes an empty tokenizer and says nothing.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(
            f"{folder.name} has no tokenizer: expected one of {', '.join(VOCABULARIES)} beside its "
            "config.json; copy it there"
        )
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"transformers cannot open the tokenizer of {folder.name}: expected the files that its "
            f"save_pretrained wrote. {str(error).partition(chr(10))[0]}"
        ) from error
    for how_it_was_loaded in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(how_it_was_loaded, None)  # which `save_pretrained` would write
    return tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars off a stage's output."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
