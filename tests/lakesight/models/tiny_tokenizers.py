"""Tiny tokenizers of the real classes: one token a character, and the special tokens."""

import io
import string
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
import transformers

hf: Any = transformers  # typed only in part

LETTERS = [*string.ascii_lowercase, *string.digits, "?", "!", ".", ",", ":"]
BYTE_SPACE = "\u0120"  # how byte-level BPE writes a space
PIECE_SPACE = "\u2581"  # how SentencePiece writes a space


def _ids(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def bert_tokenizer() -> Any:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    pieces = [f"##{letter}" for letter in LETTERS]
    return hf.BertTokenizer(vocab=_ids([*special, *LETTERS, *pieces]))


def clip_tokenizer() -> Any:
    special = ["<|startoftext|>", "<|endoftext|>"]
    ends = [f"{letter}</w>" for letter in LETTERS]
    return hf.CLIPTokenizer(vocab=_ids([*LETTERS, *ends, *special]), merges=[])


def siglip_tokenizer() -> Any:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS)] * 4),
        model_writer=model,
        model_type="char",
        vocab_size=len(LETTERS) + 4,
        minloglevel=2,
        bos_id=-1,
        eos_id=1,
        unk_id=2,
        pad_id=0,
    )
    return _from_file(hf.SiglipTokenizer, "spiece.model", model.getvalue())


def _from_file(tokenizer: Any, name: str, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return tokenizer(str(path))


def siglip2_tokenizer() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = hf.Siglip2Tokenizer(vocab=_ids([*special, PIECE_SPACE, *LETTERS]), merges=[])
    tokenizer.padding_side = "right"  # as in google/siglip2-*
    return tokenizer


def opt_tokenizer() -> Any:
    special = ["<s>", "<pad>", "</s>", "<unk>", "\n"]
    return hf.GPT2Tokenizer(
        vocab=_ids([*special, *LETTERS, BYTE_SPACE]),
        merges=[],
        unk_token="<unk>",
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
    )


def t5_tokenizer() -> Any:
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, -2.0) for piece in (PIECE_SPACE, *LETTERS)]
    return hf.T5Tokenizer(vocab=vocab, extra_ids=0)
