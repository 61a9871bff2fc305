"""Tiny checkpoints of the real transformers classes, written to disk the way the hub has them.

Random weights, 32 hidden units and 2 layers a tower: enough to compare with transformers' own
result, too little to see anything. Each takes well under a second to write.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from . import tiny_tokenizers as tokenizers

hf: Any = transformers  # its own annotations refuse what its configs accept
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.3,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def _save(
    folder: Path,
    model: Any,
    preprocessor: dict[str, object],
    tokenizer: Any = None,
) -> Path:
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def _squash(processor: str, side: int, resample: int = 3) -> dict[str, object]:
    return {
        "image_processor_type": processor,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }


def write_clip(folder: Path) -> Path:
    tokenizer = tokenizers.clip_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = hf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    preprocessor = {
        **_squash("CLIPImageProcessor", 32),
        "size": {"shortest_edge": 32},
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
    }
    return _save(folder, hf.CLIPModel(config), preprocessor, tokenizer)


def write_siglip(folder: Path) -> Path:
    tokenizer = tokenizers.siglip_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 20,
        "bos_token_id": None,
        "eos_token_id": 1,
        "projection_size": 32,
    }
    config = hf.SiglipConfig(text_config=text, vision_config=VISION)
    preprocessor = _squash("SiglipImageProcessor", 32)
    return _save(folder, hf.SiglipModel(config), preprocessor, tokenizer)


def write_siglip2(folder: Path) -> Path:
    tokenizer = tokenizers.siglip2_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 20,
        "bos_token_id": None,
        "eos_token_id": 1,
        "projection_size": 32,
    }
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    config = hf.Siglip2Config(text_config=text, vision_config={**vision, "num_patches": 16})
    preprocessor = {
        "image_processor_type": "Siglip2ImageProcessor",
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 2,
        "patch_size": 8,
        "max_num_patches": 16,
    }
    return _save(folder, hf.Siglip2Model(config), preprocessor, tokenizer)


def _qformer(vocab_size: int) -> dict[str, object]:
    return {
        **TEXT,
        "vocab_size": vocab_size,
        "max_position_embeddings": 40,
        "cross_attention_frequency": 2,
        "pad_token_id": 0,
        "use_qformer_text_input": True,
    }


def _spread_queries(model: Any) -> None:
    """Query tokens start as zeros, which makes all query vectors equal: give them a spread."""
    with torch.no_grad():
        model.query_tokens.normal_()


def write_blip2_itc(folder: Path) -> Path:
    tokenizer = tokenizers.bert_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    config = hf.Blip2Config(
        vision_config=VISION,
        qformer_config=_qformer(len(tokenizer)),
        text_config={"model_type": "opt", **_opt(len(tokenizer))},
        num_query_tokens=6,
        image_text_hidden_size=16,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = hf.Blip2ForImageTextRetrieval(config)
    _spread_queries(model)
    return _save(folder, model, _squash("BlipImageProcessor", 32), tokenizer)


def _opt(vocab_size: int) -> dict[str, object]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": 2,
        "pad_token_id": 1,
        "eos_token_id": 4,
        "init_std": 0.3,
    }


def _t5(vocab_size: int) -> dict[str, object]:
    return {
        "vocab_size": vocab_size,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "n_positions": 64,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "initializer_factor": 2.0,
    }


def _blip2(folder: Path, text: dict[str, object], tokenizer: Any) -> Path:
    config = hf.Blip2Config(
        vision_config=VISION,
        qformer_config=_qformer(30),
        text_config=text,
        num_query_tokens=6,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = hf.Blip2ForConditionalGeneration(config)
    _spread_queries(model)
    return _save(folder, model, _squash("BlipImageProcessor", 32), tokenizer)


def write_blip2_opt(folder: Path) -> Path:
    tokenizer = tokenizers.opt_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return _blip2(folder, {"model_type": "opt", **_opt(len(tokenizer))}, tokenizer)


def write_blip2_t5(folder: Path) -> Path:
    tokenizer = tokenizers.t5_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return _blip2(folder, {"model_type": "t5", **_t5(len(tokenizer))}, tokenizer)


def write_opt(folder: Path) -> Path:
    tokenizer = tokenizers.opt_tokenizer()
    model = hf.OPTForCausalLM(hf.OPTConfig(**_opt(len(tokenizer))))
    return _save(folder, model, {}, tokenizer)


def write_t5(folder: Path) -> Path:
    tokenizer = tokenizers.t5_tokenizer()
    model = hf.T5ForConditionalGeneration(hf.T5Config(**_t5(len(tokenizer))))
    return _save(folder, model, {}, tokenizer)


def write_blip(folder: Path) -> Path:
    tokenizer = tokenizers.bert_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 40,
        "encoder_hidden_size": 32,
        "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"),
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = hf.BlipConfig(text_config=text, vision_config=VISION)
    model = hf.BlipForConditionalGeneration(config)
    return _save(folder, model, _squash("BlipImageProcessor", 32), tokenizer)


def write_blip_itm(folder: Path) -> Path:
    tokenizer = tokenizers.bert_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 40,
        "encoder_hidden_size": 32,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = hf.BlipConfig(text_config=text, vision_config=VISION, image_text_hidden_size=16)
    model = hf.BlipForImageTextRetrieval(config)
    return _save(folder, model, _squash("BlipImageProcessor", 32), tokenizer)


def _detr() -> dict[str, object]:
    return {
        "d_model": 32,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 24, 32],
        "decoder_in_channels": [32, 32, 32],
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "num_queries": 20,
        "id2label": {0: "person", 1: "bicycle", 2: "bus"},
        "label2id": {"person": 0, "bicycle": 1, "bus": 2},
        "num_denoising": 0,
    }


def _detr_preprocessor(side: int = 64) -> dict[str, object]:
    return {**_squash("RTDetrImageProcessor", side, resample=2), "do_normalize": False}


def _spread_boxes(model: Any) -> None:
    """Box heads start as zeros, which leaves every box on its anchor: give them a spread."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bbox" in name and parameter.dim() == 2:
                parameter.normal_(std=0.5)


def write_rt_detr_v2(folder: Path) -> Path:
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = hf.RTDetrV2Config(backbone_config=backbone, **_detr())
    model = hf.RTDetrV2ForObjectDetection(config)
    _spread_boxes(model)
    return _save(folder, model, _detr_preprocessor())


def write_d_fine(folder: Path) -> Path:
    backbone = hf.HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = hf.DFineConfig(backbone_config=backbone, **_detr())
    model = hf.DFineForObjectDetection(config)
    _spread_boxes(model)
    return _save(folder, model, _detr_preprocessor())


WRITERS: dict[str, Callable[[Path], Path]] = {
    "clip": write_clip,
    "siglip": write_siglip,
    "siglip2": write_siglip2,
    "blip2-itc": write_blip2_itc,
    "blip-itm": write_blip_itm,
    "blip": write_blip,
    "blip2-opt": write_blip2_opt,
    "blip2-t5": write_blip2_t5,
    "rt-detr-v2": write_rt_detr_v2,
    "d-fine": write_d_fine,
}


def write(name: str, folder: Path) -> Path:
    """Write the tiny checkpoint called `name` into `folder`, the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WRITERS[name](folder)
