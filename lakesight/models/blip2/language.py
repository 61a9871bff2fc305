"""BLIP-2's language side: what the Q-Former saw, and words, into OPT or T5.

Shapes: B rows, N patches, Q queries, S prompt tokens (placeholders of the queries included), C
candidates a row, A tokens of an answer, D units of the language model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100
"""Label of a token that counts in no loss."""


CANDIDATES_A_PASS = 256
"""Candidates that are weighed together, over all questions of a pass, or fewer of a large model:"""
CANDIDATE_BYTES = 1 << 30
"""what they may take together, in copies of their prompt's cache and in logits."""


class Blip2Language(nn.Module):
    """`Blip2ForConditionalGeneration` of transformers, taken apart so that a picture is seen once.

    `see` and `prefix` are computed once a picture and serve every prompt, question and candidate.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.continues: bool = model.config.use_decoder_only_language_model
        """Whether the language model continues its prompt (OPT) or answers it (T5)."""

    def see(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels `(B, 3, H, W)` to features `(B, N, hidden)`."""
        seen: Tensor = self.model.vision_model(pixel_values=pixels).last_hidden_state
        return seen

    def prefix(self, seen: Tensor) -> Tensor:
        """Map features to what stands for the picture in the language model, `(B, Q, D)`."""
        queries = self.model.query_tokens.expand(seen.shape[0], -1, -1)
        states = self.model.qformer(query_embeds=queries, encoder_hidden_states=seen)
        projection = self.model.language_projection
        prefix: Tensor = projection(states.last_hidden_state.to(projection.weight.dtype))
        return prefix

    def embed(self, prefix: Tensor, ids: Tensor) -> Tensor:
        """Return the embeddings `(B, S, D)` of prompts whose placeholders the prefix fills."""
        words: Tensor = self.model.get_input_embeddings()(ids)
        places = (ids == self.model.config.image_token_index).unsqueeze(-1)
        return words.masked_scatter(places, prefix.to(words.dtype))

    def generate(self, prefix: Tensor, ids: Tensor, mask: Tensor, **settings: Any) -> Any:
        """Run the language model's `generate`; the result's `sequences` hold no prompt.

        `ids` and `mask` `(B, S)`, padded on the left.
        """
        given = {"inputs_embeds": self.embed(prefix, ids), "attention_mask": mask}
        if self.continues:
            given["input_ids"] = ids
        out = self.model.language_model.generate(**given, **settings)
        out.sequences = out.sequences[:, ids.shape[1] if self.continues else 1 :]
        return out

    def token_losses(
        self, prefix: Tensor, rows: Tensor, ids: Tensor, mask: Tensor, answers: Tensor
    ) -> Tensor:
        """Return the loss of every token of T `answers`, `(T, A)`, after its prompt `(T, S)`.

        `rows` `(T,)` are the pictures, of the `(B, Q, D)` of `prefix`, that they are about. Answers
        end with the stop token and are padded with `IGNORED`, where the loss is 0; prompts are
        padded on the left.
        """
        logits = self._answer_logits(prefix, rows, ids, mask, answers).transpose(1, 2).float()
        return cross_entropy(logits, answers, ignore_index=IGNORED, reduction="none")

    def candidates_a_pass(self, num_prompt_tokens: int, num_answer_tokens: int) -> int:
        """Return how many candidates `likelihood` may be given at once.

        After a prompt each of them has keys and values of every token in every layer (4 x layers x
        width bytes a token in bfloat16), and logits of its own tokens, in float32 more than once.
        """
        config, model = self.model.config.text_config, self.model.language_model
        layers = max(config.num_hidden_layers, getattr(config, "num_decoder_layers", 0))
        a_token = 2 * layers * config.hidden_size * model.dtype.itemsize
        cache = (num_prompt_tokens + num_answer_tokens) * a_token
        logits = 3 * num_answer_tokens * config.vocab_size * torch.float32.itemsize
        fitting: int = CANDIDATE_BYTES // (cache + logits)
        return max(1, min(CANDIDATES_A_PASS, fitting))

    def likelihood(
        self, prefix: Tensor, ids: Tensor, mask: Tensor, answers: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """Return the log-probability of each row's own candidates, `(C,)` a row.

        A candidate is its tokens, the stop token last. What is before the candidates (the picture
        and the question) is computed once a row.
        """
        counts = torch.tensor([len(candidates) for candidates in answers], device=ids.device)
        flat = [candidate for candidates in answers for candidate in candidates]
        padded = pad_sequence(flat, batch_first=True, padding_value=IGNORED)
        labels = padded.to(ids.device)
        rows = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), counts)
        logits = self._logits_after(prefix, ids, mask, rows, labels)
        known = labels != IGNORED
        each = logits.float().log_softmax(-1).gather(2, labels.clamp(min=0).unsqueeze(2))
        sums = each.squeeze(2).masked_fill(~known, 0.0).sum(dim=1)
        return [*torch.split(sums, counts.tolist())]

    def _answer_logits(
        self, prefix: Tensor, rows: Tensor, ids: Tensor, mask: Tensor, answers: Tensor
    ) -> Tensor:
        """Return the logits `(T, A, vocabulary)` of every answer token.

        A decoder computes the keys and values of a picture once for all of its texts.
        """
        model = self.model.language_model
        if not self.continues:
            out = model(
                inputs_embeds=self.embed(prefix[rows], ids),
                attention_mask=mask,
                decoder_input_ids=self._shifted(answers),
            )
            logits: Tensor = out.logits
            return logits
        used, places = torch.unique(rows, return_inverse=True)
        pictures = prefix[used].to(self.model.get_input_embeddings().weight.dtype)
        cache = model(inputs_embeds=pictures, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_select_indices(places)
        num_queries = prefix.shape[1]
        words = ids[:, num_queries:]  # longer prompts' words; of shorter ones also placeholders
        known = mask[:, num_queries:] * (words != self.model.config.image_token_index)
        shown = [mask.new_ones(len(rows), num_queries), known, (answers != IGNORED).to(mask.dtype)]
        out = model(
            input_ids=torch.cat([words, answers.clamp(min=0)], dim=1),
            attention_mask=torch.cat(shown, dim=1),
            past_key_values=cache,
            logits_to_keep=answers.shape[1] + 1,
        )
        continued: Tensor = out.logits[:, :-1]
        return continued

    def _logits_after(
        self, prefix: Tensor, ids: Tensor, mask: Tensor, rows: Tensor, answers: Tensor
    ) -> Tensor:
        """Return the logits `(B * C, A, vocabulary)` of answers to prompts that are run once.

        `rows` `(B * C,)` are the prompts that the answers belong to.
        """
        embeds, model = self.embed(prefix, ids), self.model.language_model
        if not self.continues:
            encoder = model.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
            encoder.last_hidden_state = encoder.last_hidden_state[rows]
            out = model(
                encoder_outputs=encoder,
                attention_mask=mask[rows],
                decoder_input_ids=self._shifted(answers),
            )
            decoded: Tensor = out.logits
            return decoded
        run = model(inputs_embeds=embeds, attention_mask=mask, use_cache=True, logits_to_keep=1)
        first: Tensor = run.logits[rows]
        if answers.shape[1] == 1:
            return first
        cache = run.past_key_values
        cache.batch_select_indices(rows)
        words = answers[:, :-1]
        whole = torch.cat([mask[rows], (words != IGNORED).to(mask.dtype)], dim=1)
        rest = model(input_ids=words.clamp(min=0), attention_mask=whole, past_key_values=cache)
        return torch.cat([first, rest.logits], dim=1)

    def _shifted(self, answers: Tensor) -> Tensor:
        """Return what a decoder is given: the start token, then each answer but its last token."""
        config = self.model.config.text_config
        given = answers.masked_fill(answers == IGNORED, config.pad_token_id)
        return pad(given[:, :-1], (1, 0), value=config.decoder_start_token_id)
