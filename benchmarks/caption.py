"""Captions/s of BLIP-2, beside transformers' `generate` as its documentation shows it.

    python -m benchmarks.caption [--shape full|shallow|small] [--model NAME] [--batch 4]
        [--tokens 30] [--prompts 1] [--dtype bfloat16] [--rounds 3] [--threads N]

Both write, greedily, about the same pictures with the same weights, which are in memory once:
*ours* is `lakesight.load(…)`'s captioner, *documented* is `Blip2Processor`, then
`Blip2ForConditionalGeneration.generate` on the batch, then `batch_decode`, once a prompt.
Contenders take turns; figures are medians. Weights are random and every caption has `--tokens`
tokens, unless a `--model` is given. The full shape is BLIP-2 OPT-2.7B's; it needs 10 GiB in
bfloat16, 19 in float32.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.blip2 import SHAPES, Checkpoint, opened
from benchmarks.peak import device_name, shares
from lakesight.errors import UserError
from lakesight.models.author import Author
from lakesight.models.base import FolderSource, Licences, ModelCard
from lakesight.models.captioner import Captioner, CaptionerOptions
from lakesight.models.look import draw_view
from lakesight.models.packed import PackedLinear, pack
from lakesight.models.pretrained import DTYPES
from lakesight.models.writers import Blip2Writer
from lakesight.scenes import generate

PROMPTS = (None, "a photo of", "this is a detailed picture of", "what the scene shows is")
SMALLEST = 64
"""Side of a scene in px, at least."""
Texts = list[list[str]]
"""A list of captions for each prompt."""


class Took(NamedTuple):
    """What a run took: by the clock, and of all CPUs, which what else runs disturbs less."""

    seconds: float
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run all rounds, print the figures, the last line as JSON, and return them."""
    options = parsed(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    prompts = PROMPTS[: options.prompts]
    with tempfile.TemporaryDirectory() as name:
        checkpoint = opened(Path(name), options.shape, options.model, options.dtype)
        side = checkpoint.model.config.vision_config.image_size
        pictures = [picture(number, side) for number in range(options.batch)]
        captioner = captioner_of(checkpoint, options)
        runs: dict[str, Callable[[], Texts]] = {
            "ours": lambda: ours(captioner, pictures, prompts),
            "documented": lambda: documented(checkpoint, pictures, prompts, options.tokens),
        }
        flops = {name: num_flops(checkpoint.model, run) for name, run in runs.items()}
        taken, texts, packing = rounds(checkpoint.model, runs, options.rounds)
    captions = options.batch * len(prompts)
    median = {
        name: Took(*(statistics.median(one) for one in zip(*found, strict=True)))
        for name, found in taken.items()
    }
    rates = {name: flops[name] / took.seconds for name, took in median.items()}
    figures = {
        "device": device_name(checkpoint.model.device),
        "threads": torch.get_num_threads(),
        "million_parameters": round(sum(p.numel() for p in checkpoint.model.parameters()) / 1e6),
        "seconds": {
            name: [round(one.seconds, 3) for one in found] for name, found in taken.items()
        },
        "cpu_seconds": {name: round(took.cpu_seconds, 3) for name, took in median.items()},
        "seconds_to_pack_once": round(packing, 2),
        "captions_s": {name: round(captions / took.seconds, 3) for name, took in median.items()},
        "times_faster": round(median["documented"].seconds / median["ours"].seconds, 2),
        "times_less_cpu": round(median["documented"].cpu_seconds / median["ours"].cpu_seconds, 2),
        "equal_words": round(share_of_equal_words(*texts), 4),
        "distinct_captions": len({text for one in texts[1] for text in one}),
        "tflop_a_caption": {name: round(n / captions / 1e12, 4) for name, n in flops.items()},
        **shares(rates, checkpoint.model),
    }
    shape = options.shape if options.model is None else None
    print(json.dumps(vars(options) | {"shape": shape} | figures))
    return figures


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="full")
    parser.add_argument(
        "--model", help="a BLIP-2 by its name or folder, in place of random weights"
    )
    parser.add_argument("--batch", type=int, default=4, help="pictures")
    parser.add_argument("--tokens", type=int, default=30, help="of each caption")
    parser.add_argument("--prompts", type=int, choices=range(1, len(PROMPTS) + 1), default=1)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice unless given")
    return parser.parse_args(arguments)


def picture(number: int, side: int) -> Image.Image:
    """Return a generated scene, cut to the pixels that the model wants, so that none is resized."""
    return Image.fromarray(generate(1, number, max(side, SMALLEST)).pixels[:side, :side])


def captioner_of(checkpoint: Checkpoint, options: argparse.Namespace) -> Captioner:
    """Return what `lakesight.load` does, over weights that are in memory already."""
    chosen = CaptionerOptions(dtype=options.dtype, num_beams=1, max_new_tokens=options.tokens)
    writer = Blip2Writer(checkpoint.model, checkpoint.tokenizer, "the model")
    card = ModelCard(
        name="measured",
        kind="caption",
        family="captioner",
        source=FolderSource(uri=str(checkpoint.folder)),
        sha256={},
        licences=Licences(weights="unknown", data="unknown"),
        provenance="A benchmark's.",
    )
    author = Author(checkpoint.folder, chosen, writer)
    return Captioner(card, checkpoint.folder, chosen, "auto", author)


def ours(
    captioner: Captioner, pictures: Sequence[Image.Image], prompts: Sequence[str | None]
) -> Texts:
    """Draw the pictures, and write about them from each prompt: they are seen once."""
    views = [draw_view(picture, captioner.view).pixels for picture in pictures]
    tables = [pa.table({"prompt": pa.array([one] * len(views), pa.string())}) for one in prompts]
    return [captioner.predict(views, rows).to_pylist() for rows in tables]


def documented(
    checkpoint: Checkpoint,
    pictures: Sequence[Image.Image],
    prompts: Sequence[str | None],
    tokens: int,
) -> Texts:
    """Do the same as the docstring of `Blip2ForConditionalGeneration` does, on a batch.

    Its text is the new one alone, as ours.
    """
    model, processor = checkpoint.model, checkpoint.processor
    texts = []
    for prompt in prompts:
        text = None if prompt is None else [prompt] * len(pictures)
        inputs = processor(images=[*pictures], text=text, return_tensors="pt")
        inputs = inputs.to(model.device, model.dtype)
        ids = model.generate(**inputs, max_new_tokens=tokens)
        given = processor.num_query_tokens + 1 if text is None else inputs["input_ids"].shape[1]
        continues = model.config.use_decoder_only_language_model
        new = ids[:, given if continues else 0 :]
        written = processor.batch_decode(new, skip_special_tokens=True)
        texts.append([one.strip() for one in written])
    return texts


def rounds(
    model: Any, runs: dict[str, Callable[[], Texts]], count: int
) -> tuple[dict[str, list[Took]], list[Texts], float]:
    """Return what each run took, the last texts of both, and the seconds that packing took.

    Ours has its weights packed, as `lakesight.load` packs them once; the other as they were loaded.
    """
    taken: dict[str, list[Took]] = {name: [] for name in runs}
    texts: list[Texts] = []
    packing = 0.0
    for number in range(count):
        began = time.perf_counter()
        pack(model)
        packing = time.perf_counter() - began
        texts = []
        for name, run in runs.items():
            began, cpu = time.perf_counter(), time.process_time()
            texts.append(run())
            taken[name].append(Took(time.perf_counter() - began, time.process_time() - cpu))
            unpack(model)
        took = ", ".join(f"{name} {found[-1].seconds:.2f} s" for name, found in taken.items())
        same = share_of_equal_words(*texts)
        print(f"round {number + 1}: {took}; equal words {same:.4f}", flush=True)
    return taken, texts, packing


def unpack(model: Any) -> None:
    """Put back the layers that were packed, as transformers loads them."""
    for parent in [*model.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, PackedLinear):
                plain = nn.Linear(1, 1, bias=child.bias is not None, device="meta")
                plain.weight = nn.Parameter(child.weight.to_dense())
                if child.bias is not None:
                    plain.bias = nn.Parameter(child.bias)
                setattr(parent, name, plain)
    model.tie_weights()


def share_of_equal_words(ours: Texts, theirs: Texts) -> float:
    """Return how many of the words at a place are the same in both; 1 where every text is."""
    pairs = [
        (one.split(), other.split())
        for mine, others in zip(ours, theirs, strict=True)
        for one, other in zip(mine, others, strict=True)
    ]
    same = sum(a == b for one, other in pairs for a, b in zip(one, other, strict=False))
    longest = sum(max(len(one), len(other)) for one, other in pairs)
    return same / longest if longest else 1.0


def num_flops(model: nn.Module, run: Callable[[], Texts]) -> int:
    """Return the floating-point operations of a run's linear layers, two for each multiplication.

    The rest is attention, 3 in 100. It also warms up.
    """
    counts: list[int] = []

    def count(layer: nn.Linear, given: tuple[Tensor, ...], _: Tensor) -> None:
        counts.append(2 * given[0].numel() * len(layer.weight))

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    run()
    for hook in hooks:
        hook.remove()
    return sum(counts)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
