"""A BLIP-2 to measure: a folder's, or one of random weights at a given shape."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import nn

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.artefact import stage
from lakesight.models.pretrained import TorchOptions, load_tokenizer, load_weights

OPT: dict[str, Any] = {
    "vocab_size": 50304,
    "hidden_size": 2560,
    "word_embed_proj_dim": 2560,
    "ffn_dim": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}
SHAPES: dict[str, dict[str, Any]] = {
    "full": {"vision_config": {}, "qformer_config": {}, "text_config": OPT},
    "shallow": {
        "vision_config": {"num_hidden_layers": 5},
        "qformer_config": {"num_hidden_layers": 2},
        "text_config": {**OPT, "num_hidden_layers": 4},
    },
    "small": {
        "vision_config": {
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "image_size": 112,
        },
        "qformer_config": {
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
        },
        "text_config": {
            "vocab_size": 4096,
            "hidden_size": 256,
            "word_embed_proj_dim": 256,
            "ffn_dim": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
        },
    },
}
"""What differs from the defaults of transformers' configs, which are those of BLIP-2 OPT-2.7B but
for the language model. The shallow one has its widths, and an eighth of its layers."""
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<image>")
SPREAD = 0.02
"""Standard deviation of random weights."""
MARGIN = 1.3
"""Memory that is needed, over that of the weights: 9.9 GB were seen for 7.5."""


class Checkpoint(NamedTuple):
    """A model in memory, and how it is asked."""

    model: Any
    """A `Blip2ForConditionalGeneration`, as transformers loads it."""
    tokenizer: Any
    processor: Any
    """A `Blip2Processor`."""
    folder: Path
    """With its preprocessor_config.json."""


def opened(scratch: Path, shape: str, name: str | None, dtype: str) -> Checkpoint:
    """Return the model of a folder or of the catalog, or one that never stops by itself.

    The weights of that one are random.
    """
    from transformers import Blip2ForConditionalGeneration

    options = TorchOptions.model_validate({"dtype": dtype})
    if name is not None:
        path = Path(name) if Path(name).is_dir() else stage(catalog.resolve(name))
        model = load_weights(Blip2ForConditionalGeneration, path, options)
        return _asked(model, load_tokenizer(path), path)
    tokenizer = _tokenizer(SHAPES[shape]["text_config"]["vocab_size"])
    model = _drawn(shape, tokenizer, options)
    _write_preprocessor(scratch, model.config.vision_config.image_size)
    return _asked(model, tokenizer, scratch)


def _drawn(shape: str, tokenizer: Any, options: TorchOptions) -> Any:
    """Return a model of random weights, never in another dtype than its own."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    text = {
        **SHAPES[shape]["text_config"],
        "model_type": "opt",
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    parts = {**SHAPES[shape], "text_config": text}
    config = Blip2Config(**parts, image_token_index=SPECIAL.index("<image>"))
    with torch.device("meta"):
        empty: Any = Blip2ForConditionalGeneration(config)
    empty = empty.to(options.torch_dtype()).eval()
    device = options.torch_device()
    if device.type == "cpu":
        _check_memory(empty)
    model = rand(empty, device)
    model.tie_weights()
    model.language_model.generation_config.eos_token_id = None
    return model


def rand(model: Any, device: torch.device) -> Any:
    """Give random weights to a model that has none, drawn in its own dtype."""
    model = model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=SPREAD, generator=generator)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


def _asked(model: Any, tokenizer: Any, folder: Path) -> Checkpoint:
    from transformers import Blip2Processor, BlipImageProcessorPil

    pixels = BlipImageProcessorPil.from_pretrained(folder)
    processor: Any = Blip2Processor
    queries = model.config.num_query_tokens
    return Checkpoint(model, tokenizer, processor(pixels, tokenizer, queries), folder)


def _tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer of invented words, as many as the model knows, with OPT's stops."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *(f"w{number}" for number in range(vocabulary - len(SPECIAL)))]
    ids = {word: number for number, word in enumerate(words)}
    made: Any = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", ids["</s>"])]
    )
    kind: Any = PreTrainedTokenizerFast
    return kind(
        tokenizer_object=made,
        bos_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )


def _write_preprocessor(folder: Path, side: int) -> None:
    config = {
        "image_processor_type": "BlipImageProcessor",
        "size": {"height": side, "width": side},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def _check_memory(model: nn.Module) -> None:
    needed = sum(weight.numel() * weight.element_size() for weight in model.parameters()) * MARGIN
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"the model needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} are free: take "
            "--dtype bfloat16 or --shape small, or free memory"
        )
