"""What BLIP-2's second stage begins with: a first stage and a language model, or both as one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lakesight.models import licences
from lakesight.models.base import Licences
from lakesight.models.pretrained import FLOAT32, load_tokenizer, load_weights
from lakesight.training.blip2.beginning import pixels_in, seeded, transformer, word_pieces
from lakesight.training.blip2.job import LanguageSize, SecondStageJob
from lakesight.training.blip2.origin import LANGUAGES, Language, SecondOrigin
from lakesight.training.blip2.tower import place

PAD, END, UNKNOWN, IMAGE = "<pad>", "</s>", "<unk>", "<image>"


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


def second_start(job: SecondStageJob, origin: SecondOrigin, texts: Iterable[str]) -> SecondStart:
    """Return the network to train, by the job's seed and what it starts from.

    `texts` are what a tokenizer is made of where no language model is given.
    """
    begun = _whole(job, origin, texts)
    if job.positions:
        place(begun.model.vision_model, job.positions)
    return begun


def _whole(job: SecondStageJob, origin: SecondOrigin, texts: Iterable[str]) -> SecondStart:
    card, folder = origin.weights
    own = Licences(weights=job.licence, data=job.data_licence)
    if origin.is_second_stage:
        from transformers import Blip2ForConditionalGeneration

        model = load_weights(Blip2ForConditionalGeneration, folder, FLOAT32)
        both = licences.both(card.licences, own)
        tokenizer = load_tokenizer(folder)
        return SecondStart(model, tokenizer, pixels_in(folder), both, f"from {card.name}")
    with seeded(job.seed):
        language = _given(origin.language) if origin.language else _new(job, texts)
        model = _joined(folder, language)
    spoken = own.model_copy(update={"language_model": language.licence})
    return SecondStart(
        model,
        language.tokenizer,
        pixels_in(folder),
        licences.both(card.licences, spoken),
        f"from {card.name} and {language.note}",
    )


def _new(job: SecondStageJob, texts: Iterable[str]) -> LanguageModel:
    tokenizer = made_tokenizer(texts, job.size.vocabulary)
    return LanguageModel(_opt(job.size, tokenizer), tokenizer, job.licence, "a new OPT")


def _given(language: Language) -> LanguageModel:
    import transformers

    tokenizer = load_tokenizer(language.folder)
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    kind = getattr(transformers, LANGUAGES[language.kind])
    model = load_weights(kind, language.folder, FLOAT32)
    model.resize_token_embeddings(len(tokenizer))
    return LanguageModel(model, tokenizer, language.licence, language.folder.name)


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
