"""What BLIP-2's second stage begins with: a first stage and a language model, or both as one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lakesight.errors import UserError
from lakesight.models import catalog, licences
from lakesight.models.artefact import stage
from lakesight.models.base import Licences
from lakesight.models.pretrained import (
    TorchOptions,
    load_tokenizer,
    load_weights,
    read_config,
)
from lakesight.training.blip2.beginning import pixels_in, transformer, word_pieces
from lakesight.training.blip2.job import LanguageSize, SecondStageJob

PAD, END, UNKNOWN, IMAGE = "<pad>", "</s>", "<unk>", "<image>"
FLOAT32 = TorchOptions(device="cpu", dtype="float32")
LANGUAGES = {"opt": "OPTForCausalLM", "t5": "T5ForConditionalGeneration"}
"""By `model_type` of config.json, the class of transformers."""


class SecondStart(NamedTuple):
    """What a training of the second stage begins with."""

    model: Any
    """A `Blip2ForConditionalGeneration`."""
    tokenizer: Any
    pixels: dict[str, bytes]
    """The files, by name, that say which pixels the network wants."""
    licences: Licences
    note: str
    """Where the weights are from, in one clause."""


class LanguageModel(NamedTuple):
    """What is to write."""

    model: Any
    tokenizer: Any
    licence: str
    note: str


def second_start(job: SecondStageJob, texts: Iterable[str]) -> SecondStart:
    """Return the network to train, by the job's seed and what it starts from.

    `texts` are what a tokenizer is made of where no language model is given.
    """
    if job.weights is None:
        raise UserError("the second stage begins with a first one: train that by --task retrieve")
    card = catalog.resolve(job.weights)
    catalog.spec(job.weights, licences_accepted=job.allow_licence)  # or this says how to accept it
    folder = stage(card)
    own = Licences(weights=job.licence, data=job.data_licence)
    if card.family == "captioner" and read_config(folder)["model_type"] == "blip-2":
        from transformers import Blip2ForConditionalGeneration

        model = load_weights(Blip2ForConditionalGeneration, folder, FLOAT32)
        both = licences.both(card.licences, own)
        tokenizer = load_tokenizer(folder)
        return SecondStart(model, tokenizer, pixels_in(folder), both, f"from {card.name}")
    if card.family != "image-text" or read_config(folder)["model_type"] != "blip-2":
        raise UserError(f"{job.weights} is of the family {card.family}: expected a BLIP-2")
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers stay
        torch.default_generator.manual_seed(job.seed)
        language = _language(job, texts)
        model = _joined(folder, language)
    spoken = own.model_copy(update={"language_model": language.licence})
    return SecondStart(
        model,
        language.tokenizer,
        pixels_in(folder),
        licences.both(card.licences, spoken),
        f"from {card.name} and {language.note}",
    )


def _language(job: SecondStageJob, texts: Iterable[str]) -> LanguageModel:
    if job.language_model is None:
        tokenizer = made_tokenizer(texts, job.size.vocabulary)
        return LanguageModel(_opt(job.size, tokenizer), tokenizer, job.licence, "a new OPT")
    import transformers

    folder = Path(job.language_model)
    kind = read_config(folder)["model_type"]
    if kind not in LANGUAGES:
        raise UserError(
            f"{folder} is of type {kind!r}: a language model is one of {', '.join(LANGUAGES)}"
        )
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    model = load_weights(getattr(transformers, LANGUAGES[kind]), folder, FLOAT32)
    model.resize_token_embeddings(len(tokenizer))
    return LanguageModel(model, tokenizer, job.language_licence, folder.name)


def made_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return a tokenizer of the words of some texts, which begins as OPT's does."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = word_pieces(texts, (PAD, UNKNOWN, END, IMAGE), vocabulary)
    made = Tokenizer(models.WordPiece(pieces, unk_token=UNKNOWN))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, pieces[END])]
    )
    kind: Any = transformers.PreTrainedTokenizerFast
    return kind(
        tokenizer_object=made,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=END,
        eos_token=END,
        extra_special_tokens=[IMAGE],
    )


def _opt(size: LanguageSize, tokenizer: Any) -> Any:
    import transformers

    kinds: Any = transformers
    sizes = transformer(size.transformer)
    config = kinds.OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes["hidden_size"],
        word_embed_proj_dim=sizes["hidden_size"],
        ffn_dim=sizes["intermediate_size"],
        num_hidden_layers=sizes["num_hidden_layers"],
        num_attention_heads=sizes["num_attention_heads"],
        max_position_embeddings=size.context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return kinds.OPTForCausalLM(config)


def _joined(folder: Path, language: LanguageModel) -> Any:
    """Return a first stage's tower, Q-Former and queries with a language model behind them."""
    import transformers

    kinds: Any = transformers
    first = load_weights(kinds.Blip2ForImageTextRetrieval, folder, FLOAT32)
    qformer = first.config.qformer_config.to_dict() | {"use_qformer_text_input": False}
    config = kinds.Blip2Config(
        vision_config=first.config.vision_config.to_dict(),
        qformer_config=qformer,
        text_config=language.model.config.to_dict(),
        num_query_tokens=first.config.num_query_tokens,
        image_text_hidden_size=first.config.image_text_hidden_size,
        image_token_index=language.tokenizer.convert_tokens_to_ids(IMAGE),
    )
    model = kinds.Blip2ForConditionalGeneration(config)
    model.vision_model.load_state_dict(first.vision_model.state_dict())
    queries = model.qformer.state_dict()
    known = first.qformer.state_dict()
    model.qformer.load_state_dict({name: known[name] for name in queries})
    with torch.no_grad():
        model.query_tokens.copy_(first.query_tokens)
    model.language_model.load_state_dict(language.model.state_dict())
    model.language_model.generation_config = language.model.generation_config
    return model
