"""The graphs that an exported BLIP-2 consists of: their files, and how torch calls them.

Shapes: B rows, N patches, Q queries, S tokens, P tokens of the past, K tokens whose logits are
wanted, L layers with h heads of d units; D units of the language model, E of the shared space.
"""

from typing import Any

import torch
from torch import Tensor

from lakesight.runtimes.graphs import Graph

VISION = "vision.onnx"
"""`pixels` `(B, 3, H, W)`, normalised, to `features` `(B, N, hidden)`."""
QFORMER = "qformer.onnx"
"""`features` to `prefix` `(B, Q, D)`: what stands for the picture in the language model."""
WORDS = "words.onnx"
"""`ids` `(B, S)` to `embeds` `(B, S, D)`."""
DECODER = "decoder.onnx"
"""`embeds` `(B, S, D)`, `mask` `(B, P + S)` of past and new tokens, `wanted` `(K,)`, places among
the S, and of every layer `past_{i}_key` and `past_{i}_value` `(B, h, P, d)`; to `logits` `(B, K,
vocabulary)` and of every layer `present_{i}_key` and `present_{i}_value` `(B, h, P + S, d)`. Of a
T5 `mask` `(B, S')` is that of the encoder's tokens, and `cross_{i}_key` and `cross_{i}_value` come
before the past."""
ENCODER = "encoder.onnx"
"""Of a T5: `embeds` and `mask` `(B, S')` to `states` `(B, S', D)`."""
CROSS = "cross.onnx"
"""Of a T5: `states` to what every layer of the decoder looks at, `cross_{i}_key` and
`cross_{i}_value` `(B, h, S', d)`."""
QUERIES = "queries.onnx"
"""Of a retrieval model: `features` to `states` `(B, Q, hidden)` and `vectors` `(B, Q, E)`."""
TEXTS = "texts.onnx"
"""`ids` and `mask` `(B, S)` to `states` `(B, S, hidden)` and `vectors` `(B, E)`."""
PAIRS = "pairs.onnx"
"""`features`, `ids` and `mask` to `states` `(B, Q, hidden)` and `logits` `(B, 2)`: no, yes."""


def keys(name: str, num_layers: int) -> list[str]:
    """Return the names of what every layer keeps: its keys, then its values."""
    return [f"{name}_{layer}_{kind}" for layer in range(num_layers) for kind in ("key", "value")]


def call(graph: Graph, **tensors: Tensor) -> list[Tensor]:
    """Run a graph on tensors of the CPU."""
    arrays: dict[str, Any] = {
        name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()
    }
    return [torch.from_numpy(array) for array in graph.run(arrays)]
