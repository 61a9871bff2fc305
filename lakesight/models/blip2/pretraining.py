"""The Q-Former with its three heads: contrast, match and write (BLIP-2, section 3.2).

Shapes: B pictures, T texts, N patches, Q queries, S tokens, D hidden units, E of the shared space.
"""

import math
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from lakesight.errors import UserError
from lakesight.models.pretrained import FLOAT32, load_weights

WRITER = "writer.safetensors"
"""Of the writing head and the temperature, which no class of transformers has."""
LOG_TEMPERATURE = "log_temperature"
TEMPERATURE = 0.07


class Writer(nn.Module):
    """BERT's language-modelling head: states to logits over words, tied to their embeddings."""

    def __init__(self, words: nn.Embedding, layer_norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(words.embedding_dim, words.embedding_dim)
        self.norm = nn.LayerNorm(words.embedding_dim, eps=layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Map `(B, S, D)` by the embeddings `(vocabulary, D)` to `(B, S, vocabulary)`."""
        logits: Tensor = self.norm(gelu(self.dense(states))) @ words.T + self.bias
        return logits


class Blip2Retrieval(nn.Module):
    """`Blip2ForImageTextRetrieval` of transformers, taken apart: it contrasts and matches.

    A picture goes through the vision tower once (`see`); every other method starts from what that
    gave. The config needs `use_qformer_text_input`.
    """

    def __init__(self, retrieval: Any) -> None:
        super().__init__()
        self.retrieval = retrieval
        if not retrieval.config.qformer_config.use_qformer_text_input:
            raise ValueError("qformer_config.use_qformer_text_input is false: the Q-Former reads")

    def see(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels `(B, 3, H, W)` to features `(B, N, D)`."""
        seen: Tensor = self.retrieval.vision_model(pixel_values=pixels).last_hidden_state
        return seen

    def query(self, seen: Tensor) -> Tensor:
        """Map features to the states of the queries, `(B, Q, D)`, without any text."""
        return self._run(self._queries(seen.shape[0]), seen=seen)

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map tokens and their mask `(T, S)` to their states `(T, S, D)`, without any picture."""
        return self._run(self._embed(ids), mask=mask, num_queries=0)

    def image_projection(self, queries: Tensor) -> Tensor:
        """Map what `query` gave to vectors `(B, Q, E)` of any length."""
        return projected(self.retrieval.vision_projection, queries)

    def text_projection(self, states: Tensor) -> Tensor:
        """Map what `read` gave to vectors `(T, E)` of any length: the first token's."""
        return projected(self.retrieval.text_projection, states[:, 0])

    def image_vectors(self, queries: Tensor) -> Tensor:
        """Map what `query` gave to unit vectors `(B, Q, E)`."""
        return normalize(self.image_projection(queries), dim=-1)

    def text_vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map tokens and their mask `(T, S)` to unit vectors `(T, E)`."""
        return normalize(self.text_projection(self.read(ids, mask)), dim=-1)

    def fuse(self, seen: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the queries' states `(B, Q, D)` of pairs: features `(B, N, D)`, tokens `(B, S)`.

        Queries and tokens see each other.
        """
        both = torch.cat([self._queries(seen.shape[0]), self._embed(ids)], dim=1)
        num_queries = both.shape[1] - ids.shape[1]
        whole = torch.cat([mask.new_ones(mask.shape[0], num_queries), mask], dim=1)
        states = self._run(both, seen=seen, mask=whole, num_queries=num_queries)
        return states[:, :num_queries]

    def match(self, seen: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Map pairs, features `(B, N, D)` and tokens `(B, S)`, to logits `(B, 2)`: no, yes."""
        return projected(self.retrieval.itm_head, self.fuse(seen, ids, mask)).mean(dim=1)

    def _queries(self, count: int) -> Tensor:
        queries: Tensor = self.retrieval.query_tokens
        return queries.expand(count, -1, -1)

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.retrieval.embeddings(input_ids=ids)
        return embedded

    def _run(
        self,
        embeds: Tensor,
        *,
        seen: Tensor | None = None,
        mask: Tensor | None = None,
        num_queries: int | None = None,
    ) -> Tensor:
        states: Tensor = self.retrieval.qformer(
            query_embeds=embeds,
            query_length=num_queries,
            attention_mask=mask,
            encoder_hidden_states=seen,
        ).last_hidden_state
        return states


class Blip2ForPretraining(Blip2Retrieval):
    """The first stage as it is trained, with the head that writes and a temperature."""

    def __init__(self, retrieval: Any) -> None:
        super().__init__(retrieval)
        layer_norm_eps = retrieval.config.qformer_config.layer_norm_eps
        self.writer = Writer(retrieval.embeddings.word_embeddings, layer_norm_eps)
        self.log_temperature = nn.Parameter(torch.tensor(TEMPERATURE).log())

    @classmethod
    def new(cls, config: Any) -> Self:
        """Return one with random weights from a `Blip2Config`.

        transformers starts query tokens at zero, where all of them stay equal for ever; here they
        are drawn.
        """
        from transformers import Blip2ForImageTextRetrieval

        retrieval: Any = Blip2ForImageTextRetrieval(config)
        model = cls(retrieval)
        with torch.no_grad():
            retrieval.query_tokens.normal_(std=config.qformer_config.initializer_range)
        model.draw_writer()
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` wrote, in float32; `UserError` where tensors are missing.

        Of a checkpoint of transformers alone the head that writes is as torch makes one: to train
        it, see `draw_writer`.
        """
        from transformers import Blip2ForImageTextRetrieval

        model = cls(load_weights(Blip2ForImageTextRetrieval, folder, FLOAT32))
        if (folder / WRITER).is_file():
            model._put_head(folder, load_file(folder / WRITER))
        return model

    def _put_head(self, folder: Path, head: dict[str, Tensor]) -> None:
        wanted = {**self.writer.state_dict(), LOG_TEMPERATURE: self.log_temperature}
        wrong = [name for name, one in wanted.items() if _shape(head.get(name)) != one.shape]
        if wrong or len(head) != len(wanted):
            raise UserError(
                f"{WRITER} of {folder.name} is not of its weights, by {', '.join(wrong or head)}: "
                "expected what lakesight train wrote beside them; leave it out to begin with a new "
                "head"
            )
        self.log_temperature.data.copy_(head.pop(LOG_TEMPERATURE))
        self.writer.load_state_dict(head)

    def draw_writer(self) -> None:
        """Draw the weights of the head that writes, as the Q-Former's are drawn."""
        std = self.retrieval.config.qformer_config.initializer_range
        with torch.no_grad():
            self.writer.dense.weight.normal_(std=std)
            self.writer.dense.bias.zero_()

    def save(self, folder: Path) -> None:
        """Write a checkpoint that transformers reads, and beside it what it has no place for."""
        self.retrieval.save_pretrained(folder)
        head = {name: tensor.contiguous() for name, tensor in self.writer.state_dict().items()}
        save_file({**head, LOG_TEMPERATURE: self.log_temperature.detach()}, folder / WRITER)

    @property
    def temperature(self) -> Tensor:
        """What cosines are divided by, a scalar."""
        return self.log_temperature.exp()

    @torch.no_grad()
    def bound_temperature(self) -> None:
        """Bring the temperature back between 0.001 and 0.5, from where it still learns (ALBEF)."""
        self.log_temperature.clamp_(math.log(0.001), math.log(0.5))

    def freeze_vision(self) -> None:
        """Keep the vision tower as it is: no gradients, no dropout."""
        self.retrieval.vision_model.eval().requires_grad_(False)

    def freeze_all_but_vision(self) -> None:
        """Keep everything behind the vision tower as it is."""
        self.requires_grad_(False)
        self.retrieval.vision_model.requires_grad_(True)

    def heads(self) -> dict[str, list[nn.Parameter]]:
        """Return the weights that only one of the losses reaches, by its name."""
        retrieval = self.retrieval
        projections = nn.ModuleList([retrieval.vision_projection, retrieval.text_projection])
        return {
            "contrast": [self.log_temperature, *projections.parameters()],
            "match": [*retrieval.itm_head.parameters()],
            "write": [*self.writer.parameters()],
        }

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all that learns; a frozen vision tower stays in evaluation."""
        super().train(mode)
        tower = self.retrieval.vision_model
        if not any(weight.requires_grad for weight in tower.parameters()):
            tower.eval()
        return self

    def write(self, seen: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the queries' states `(B, Q, D)` and the next token's logits `(B, S, vocabulary)`.

        Queries see queries, a token sees the queries and the tokens up to itself: so the states
        are those that `query` gives, and one pass serves both.
        """
        both = torch.cat([self._queries(seen.shape[0]), self._embed(ids)], dim=1)
        num_queries = both.shape[1] - ids.shape[1]
        allowed = causal_mask(num_queries, mask)
        states = self._run(both, seen=seen, mask=allowed, num_queries=num_queries)
        words = self.retrieval.embeddings.word_embeddings.weight
        return states[:, :num_queries], self.writer(states[:, num_queries:], words)


def causal_mask(num_queries: int, mask: Tensor) -> Tensor:
    """Return what may attend to what, `(B, 1, Q + S, Q + S)` bool, from a text mask `(B, S)`.

    Queries to queries; a token to the queries and the tokens up to itself.
    """
    length = mask.shape[1]
    size = num_queries + length
    allowed = torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    allowed[:num_queries, :num_queries] = True
    known = torch.cat([mask.new_ones(mask.shape[0], num_queries), mask], dim=1).bool()
    both = allowed[None, None] & known[:, None, None, :]
    # what is padded attends to itself: a row without anything to attend to is not a number
    return both | torch.eye(size, dtype=torch.bool, device=mask.device)


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def projected(projection: Any, states: Tensor) -> Tensor:
    """Project in what the head is in: float32, whatever the rest is in."""
    projected: Tensor = projection(states.to(projection.weight.dtype))
    return projected
