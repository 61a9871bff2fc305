"""What BLIP-2's first stage begins with: networks and tokenizers, drawn or read."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from lakesight.errors import UserError
from lakesight.models import licences
from lakesight.models.base import Licences
from lakesight.models.blip2.pretraining import WRITER, Blip2ForPretraining
from lakesight.models.preprocessor import (
    NESTED_FILE,
    OWN_FILE,
    Preprocessor,
    parse_preprocessor,
)
from lakesight.models.pretrained import load_tokenizer
from lakesight.training.blip2.job import FirstStageJob, FirstStageSize, Transformer
from lakesight.training.blip2.origin import FirstOrigin, Origin, blip2_config
from lakesight.training.blip2.tower import place

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "<image>")
PIXELS = (OWN_FILE, NESTED_FILE)
TOWER = "vision_model."
"""What the names of a vision tower's weights begin with."""
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Of the pixels of a vision tower that starts from nothing."""
VISION_STD = 0.02
"""Of its weights; those of `Blip2VisionConfig` are all but 0, as nobody trains it from nothing."""


class Start(NamedTuple):
    """What a training begins with."""

    model: Blip2ForPretraining
    tokenizer: Any
    pixels: Mapping[str, bytes]
    """The files, by name, that say which pixels the network wants."""
    licences: Licences
    note: str
    """Where the weights are from, in one clause."""


def start(job: FirstStageJob, origin: FirstOrigin, texts: Iterable[str]) -> Start:
    """Return the network to train, by the job's seed and what it starts from.

    `texts` are what a tokenizer is made of where none is there. Raises UserError for a vision tower
    of other sizes, or that wants other pixels.
    """
    begun = _whole(job, origin.weights, texts)
    if origin.tower is not None:
        begun = _with_tower(begun, origin.tower)
    if job.positions:
        place(begun.model.retrieval.vision_model, job.positions)
    return begun


def _whole(job: FirstStageJob, origin: Origin | None, texts: Iterable[str]) -> Start:
    own = Licences(weights=job.licence, data=job.data_licence)
    if origin is None:
        with seeded(job.seed):
            tokenizer = made_tokenizer(texts, job.size.vocabulary)
            model = Blip2ForPretraining.new(_config(job, tokenizer))
        return Start(model, tokenizer, _pixels(job.size), own, "from nothing")
    card, folder = origin
    model = Blip2ForPretraining.load(folder)
    if not (folder / WRITER).is_file():
        with seeded(job.seed):
            model.draw_writer()
    return Start(
        model,
        load_tokenizer(folder),
        pixels_in(folder),
        licences.both(card.licences, own),
        f"from {card.name}",
    )


def _with_tower(begun: Start, origin: Origin) -> Start:
    """Return the same with the vision tower of another BLIP-2."""
    card, folder = origin
    tower: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(TOWER)]  # noqa: SIM118
            tower |= {name.removeprefix(TOWER): file.get_tensor(name).float() for name in names}
    own = begun.model.retrieval.vision_model
    wanted = {name: tensor.shape for name, tensor in own.state_dict().items()}
    same = {name: tensor.shape for name, tensor in tower.items()} == wanted
    if not same or _built(blip2_config(folder).vision_config) != _built(own.config):
        raise UserError(f"the vision tower of {card.name} is built otherwise than the network's")
    if preprocessor_of(pixels_in(folder)) != preprocessor_of(begun.pixels):
        raise UserError(f"the vision tower of {card.name} wants other pixels than the network")
    own.load_state_dict(tower)
    known = card.licences.model_copy(update={"language_model": None})  # which is left behind
    return begun._replace(
        licences=licences.both(known, begun.licences),
        note=f"{begun.note}, with the vision tower of {card.name}",
    )


def _built(vision_config: Any) -> dict[str, Any]:
    """Return what of a tower's configuration decides what it computes."""
    names = ("num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size")
    return {name: getattr(vision_config, name) for name in names}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have what is drawn depend on the seed alone; the caller's own random numbers stay."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def made_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return BERT's kind of tokenizer of the words of some texts, with what BLIP-2 adds to it."""
    import transformers

    kind: Any = transformers.BertTokenizer
    tokenizer = kind(vocab=word_pieces(texts, SPECIAL, vocabulary), do_lower_case=True)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "extra_special_tokens": ["<image>"]})
    return tokenizer


def word_pieces(texts: Iterable[str], special: Sequence[str], vocabulary: int) -> dict[str, int]:
    """Return word pieces and their numbers, always the same for the same texts.

    They are what is special, every letter, of which rare words are made, and the most frequent
    words. (The trainers of `tokenizers` number words that are as frequent differently every time.)
    """
    from tokenizers import normalizers, pre_tokenizers

    normalise, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in texts for word, _ in split.pre_tokenize_str(normalise.normalize_str(text))
    )
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *frequent])
    return {piece: number for number, piece in enumerate(islice(pieces, vocabulary))}


def _config(job: FirstStageJob, tokenizer: Any) -> Any:
    import transformers

    size = job.size
    kind: Any = transformers.Blip2Config
    return kind(
        vision_config={
            **transformer(size.vision),
            "image_size": size.image_size,
            "patch_size": size.patch_size,
            "initializer_range": VISION_STD,
        },
        qformer_config={
            **transformer(size.qformer),
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": job.max_tokens,
            "encoder_hidden_size": size.vision.width,
            "cross_attention_frequency": size.cross_every,
            "hidden_dropout_prob": size.dropout,
            "attention_probs_dropout_prob": size.dropout,
            "use_qformer_text_input": True,
        },
        num_query_tokens=size.num_queries,
        image_text_hidden_size=size.shared,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def transformer(size: Transformer) -> dict[str, Any]:
    """Return sizes by the names that most configs have for them."""
    return {
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
    }


def pixels_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint that say which pixels it wants."""
    return {name: (folder / name).read_bytes() for name in PIXELS if (folder / name).is_file()}


def preprocessor_of(pixels: Mapping[str, bytes]) -> Preprocessor:
    """Return what a picture goes through, of a checkpoint's files."""
    return parse_preprocessor("the checkpoint", dict(pixels), "image-text")


def _pixels(size: FirstStageSize) -> dict[str, bytes]:
    side = size.image_size
    config = {
        "image_processor_type": "BlipImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
    return {OWN_FILE: json.dumps(config, indent=2).encode()}
