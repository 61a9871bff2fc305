"""Nucleus sampling whose every row depends on its own seed only."""

from collections.abc import Sequence

import torch
from torch import Tensor


class RowSampler:
    """A logits processor: draws each row's next token with its own generator, keeps the scores.

    Adding Gumbel noise and taking the maximum draws from the softmax (Gumbel-max trick), so that a
    batch samples together and a row draws what it would draw alone: transformers' own sampling
    takes all rows' numbers from one stream. What is returned leaves `generate` no choice.
    Nucleus: the smallest set of tokens of probability top_p (https://arxiv.org/abs/1904.09751).
    """

    def __init__(
        self, seeds: Sequence[int], *, top_p: float, temperature: float, stop_ids: Sequence[int]
    ) -> None:
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        # On the CPU whatever the model runs on, so that the same noise is drawn everywhere.
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._warpers = (TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p))
        self._stop_ids = torch.tensor(stop_ids)
        self._done = torch.zeros(len(seeds), dtype=torch.bool)
        self.log_probability = torch.zeros(len(seeds))
        """Of each row's tokens up to its stop token, by the model itself: before the warpers."""
        self.lengths = torch.zeros(len(seeds))
        """Tokens of each row, its stop token included."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Take logits `(N, V)`; return zeros at the drawn tokens and minus infinity elsewhere."""
        warped = scores
        for warper in self._warpers:
            warped = warper(input_ids, warped)
        drawn = (warped + self._noise(scores)).argmax(dim=-1, keepdim=True)
        self._record(drawn.squeeze(1).cpu(), scores.log_softmax(-1).gather(1, drawn).squeeze(1))
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)

    def _noise(self, scores: Tensor) -> Tensor:
        """Return Gumbel noise shaped like the logits, each row from its own generator."""
        rows = [
            torch.empty(scores.shape[1]).exponential_(generator=generator)
            for generator in self._generators
        ]
        return -torch.stack(rows).log().to(scores.device)

    def _record(self, drawn: Tensor, log_probability: Tensor) -> None:
        running = ~self._done
        self.log_probability += log_probability.cpu() * running
        self.lengths += running
        self._done |= torch.isin(drawn, self._stop_ids)
