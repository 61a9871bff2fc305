"""Words about pictures that are seen once, against transformers' own whole passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from lakesight.models.blip2.language import (
    CANDIDATE_BYTES,
    CANDIDATES_A_PASS,
    IGNORED,
    Blip2Language,
)
from tests.lakesight.models import tiny

hf: Any = transformers
Checkpoint = Callable[[str], Path]
BATCH = 3


@pytest.fixture(scope="module", params=["blip2-opt", "blip2-t5"])
def language(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Blip2Language:
    folder = checkpoint(request.param)
    return Blip2Language(hf.Blip2ForConditionalGeneration.from_pretrained(folder).eval())


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def prompts(language: Blip2Language) -> tuple[Tensor, Tensor]:
    """Three prompts of other lengths, padded on the left."""
    config = language.model.config
    image = [config.image_token_index] * config.num_query_tokens
    words = [[5, 6, 7, 8], [9], [10, 11]]
    longest = max(map(len, words))
    pads = [longest - len(one) for one in words]
    padding = config.text_config.pad_token_id
    ids = [[padding] * gap + image + one for gap, one in zip(pads, words, strict=True)]
    mask = [[0] * gap + [1] * (len(image) + len(one)) for gap, one in zip(pads, words, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


def stop_id(language: Blip2Language) -> int:
    return int(language.model.language_model.generation_config.eos_token_id)


@torch.no_grad()
@pytest.mark.parametrize("num_beams", [1, 3])
def test_what_is_written_is_what_transformers_writes(
    language: Blip2Language, pixels: Tensor, prompts: tuple[Tensor, Tensor], num_beams: int
) -> None:
    settings = {"max_new_tokens": 6, "num_beams": num_beams, "do_sample": False}
    ids, mask = prompts
    prefix = language.prefix(language.see(pixels))
    ours = language.generate(prefix, ids, mask, **settings, return_dict_in_generate=True)
    theirs = language.model.generate(
        pixel_values=pixels, input_ids=ids, attention_mask=mask, **settings
    )
    assert torch.equal(ours.sequences, theirs[:, ids.shape[1] if language.continues else 1 :])


def one_by_one(
    language: Blip2Language, picture: Tensor, prompt: Tensor, answer: list[int]
) -> list[float]:
    """Return each answer token's log-probability, by transformers' whole pass over one row."""
    config = language.model.config.text_config
    found = []
    for place, token in enumerate(answer):
        if language.continues:
            ids = torch.cat([prompt, torch.tensor(answer[:place], dtype=torch.long)])[None]
            out = language.model(pixel_values=picture[None], input_ids=ids)
        else:
            known = torch.tensor([[config.decoder_start_token_id, *answer[:place]]])
            out = language.model(
                pixel_values=picture[None], input_ids=prompt[None], decoder_input_ids=known
            )
        found.append(float(out.logits[0, -1].log_softmax(0)[token]))
    return found


@torch.no_grad()
def test_loss_and_likelihood_are_those_of_one_token_at_a_time(
    language: Blip2Language, pixels: Tensor, prompts: tuple[Tensor, Tensor]
) -> None:
    ids, mask = prompts
    stop = stop_id(language)
    candidates = [[[5, stop], [12, 13, 6, stop]], [[7, 8, stop]], [[stop], [9, stop], [10, stop]]]
    wanted = [
        [sum(one_by_one(language, picture, row[keep], each)) for each in answers]
        for picture, row, keep, answers in zip(pixels, ids, mask.bool(), candidates, strict=True)
    ]
    prefix = language.prefix(language.see(pixels))
    found = language.likelihood(
        prefix, ids, mask, [[torch.tensor(each) for each in answers] for answers in candidates]
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.tolist() == pytest.approx(theirs, abs=1e-3)

    longest = [answers[-1] for answers in candidates]
    width = max(map(len, longest))
    labels = torch.tensor([one + [IGNORED] * (width - len(one)) for one in longest])
    mean = -sum(row[-1] for row in wanted) / sum(map(len, longest))
    losses = language.token_losses(prefix, torch.arange(BATCH), ids, mask, labels)
    assert float(losses[labels != IGNORED].mean()) == pytest.approx(mean, abs=1e-3)
    assert not losses[labels == IGNORED].any()
    rows = torch.tensor([2, 0, 2])  # several texts of one picture, none of another
    shared = language.token_losses(prefix, rows, ids, mask, labels)
    apart = language.token_losses(prefix[rows], torch.arange(BATCH), ids, mask, labels)
    assert torch.allclose(shared, apart, atol=1e-4)
    assert not torch.allclose(shared, losses, atol=1e-2)


@torch.no_grad()
def test_candidates_of_one_token_need_no_second_pass(
    language: Blip2Language, pixels: Tensor, prompts: tuple[Tensor, Tensor]
) -> None:
    ids, mask = prompts
    prefix = language.prefix(language.see(pixels))
    answers = [[torch.tensor([5]), torch.tensor([6])]] * BATCH
    found = language.likelihood(prefix, ids, mask, answers)
    alone = one_by_one(language, pixels[1], ids[1][mask[1].bool()], [6])
    assert float(found[1][1]) == pytest.approx(alone[0], abs=1e-3)


@pytest.mark.parametrize(("dtype", "num_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_candidates_of_a_large_model_are_bounded_by_what_they_take(
    dtype: torch.dtype, num_bytes: int
) -> None:
    """At the shape of OPT-2.7B (arXiv:2205.01068, table 1), without its weights."""
    layers, width = 32, 2560
    text = {
        "model_type": "opt",
        "hidden_size": width,
        "word_embed_proj_dim": width,
        "ffn_dim": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "vocab_size": 50272,
    }
    with torch.device("meta"):
        config = hf.Blip2Config(text_config=text, vision_config=tiny.VISION)
        language = Blip2Language(hf.Blip2ForConditionalGeneration(config).to(dtype))
    for num_prompt, num_answer in ((42, 5), (42, 1), (200, 10), (1000, 5)):
        cache = 2 * layers * width * (num_prompt + num_answer) * num_bytes  # keys and values
        most = language.candidates_a_pass(num_prompt, num_answer)
        assert 0.5 * CANDIDATE_BYTES < most * cache <= CANDIDATE_BYTES
    assert language.candidates_a_pass(100_000, 5) == 1


def test_candidates_of_a_small_model_are_as_many_as_a_pass_takes(language: Blip2Language) -> None:
    assert language.candidates_a_pass(40, 5) == CANDIDATES_A_PASS
