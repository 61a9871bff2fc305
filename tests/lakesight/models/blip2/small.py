"""The configuration of a BLIP-2 that is as small as can be."""

from typing import Any

import transformers

NUM_WORDS = 40
LAYER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def small_config() -> Any:
    """Return that of a first stage: 32 px, 5 queries, 40 words, 16 tokens, no dropout."""
    kind: Any = transformers.Blip2Config
    return kind(
        vision_config={**LAYER, "image_size": 32, "patch_size": 8},
        qformer_config={
            **LAYER,
            "vocab_size": NUM_WORDS,
            "max_position_embeddings": 16,
            "encoder_hidden_size": 32,
            "cross_attention_frequency": 2,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "use_qformer_text_input": True,
        },
        num_query_tokens=5,
        image_text_hidden_size=16,
    )
