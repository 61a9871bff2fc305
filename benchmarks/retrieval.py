"""Queries/s of a search by words that looks again at its best, beside looking at all of it anew.

    python -m benchmarks.retrieval [--rows 1000] [--rerank 128] [--rounds 3] [--shape starter|base]

Both find the same candidates in the same index, and rank them by cosine and ITM. *Ours* reads what
the vision tower gave from the index; *rerun* decodes the candidates and runs the tower again.
Weights are random: speed does not depend on them. The two orders are compared: they may differ only
where scores do by less than `TOLERANCE`. Contenders take turns; figures are medians.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import lakesight
from indexes.search import Searcher
from lakesight.lake.uris import local_path
from lakesight.media.decode import decode
from lakesight.media.limits import Limits
from lakesight.models.image_text import ImageText
from lakesight.ranking import reranked
from lakesight.training.blip2.job import FirstStageJob
from lakesight.training.blip2.training import FirstStageTraining
from workflows.__main__ import main as lakesight_command
from workflows.queries import build, embed_text
from workflows.scenes import Scenes

TOLERANCE = 0.02
"""Of a score, cosine and logit together: the index keeps features as float16."""
TEXTS = ("a red star above a blue circle", "two green hearts", "a striped cross on the left")
SHAPES: dict[str, dict[str, Any]] = {
    "starter": {},
    "base": {
        "vision": {"width": 768, "layers": 12, "heads": 12},
        "qformer": {"width": 768, "layers": 12, "heads": 12},
        "num_queries": 32,
        "shared": 256,
    },
}
"""Sizes of a first stage: the default, and BLIP-2's Q-Former behind a ViT-B/16."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run all rounds, print the figures, the last line as JSON, and return them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rerank", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, default="starter")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        searcher = made(Path(name), options)
        model = build(searcher.manifest)
        assert isinstance(model, ImageText)
        seconds: dict[str, list[float]] = {"ours": [], "rerun": []}
        same: list[float] = []
        ours(searcher, model, TEXTS[0], options.rerank)  # reads and checks the features once
        for number in range(options.rounds):
            asked = searcher, model, TEXTS[number % len(TEXTS)], options.rerank
            began = time.perf_counter()
            kept = ours(*asked)
            between = time.perf_counter()
            anew = rerun(*asked)
            seconds["ours"].append(between - began)
            seconds["rerun"].append(time.perf_counter() - between)
            same.append(agreement(kept, anew))
            took = ", ".join(f"{name} {found[-1]:.2f} s" for name, found in seconds.items())
            print(f"round {number + 1}: {took}", flush=True)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    figures = {
        "threads": torch.get_num_threads(),
        "queries_s": {name: round(1 / value, 3) for name, value in median.items()},
        "times_faster": round(median["rerun"] / median["ours"], 2),
        "same_place": round(statistics.mean(same), 4),
    }
    print(json.dumps(vars(options) | figures))
    return figures


def agreement(kept: Sequence[str], anew: Mapping[str, float]) -> float:
    """Return the share of candidates that have the same place in both orders, the best first.

    Raises AssertionError where the orders differ by more than features in float16 explain.
    """
    assert sorted(kept) == sorted(anew), "the candidates are others"
    for before, after in pairwise(kept):
        assert anew[before] > anew[after] - TOLERANCE, f"{before} is ranked before {after}"
    return sum(one == other for one, other in zip(kept, anew, strict=True)) / len(kept)


def made(folder: Path, options: argparse.Namespace) -> Searcher:
    """Return an index of scenes with features, by a first stage of random weights."""
    scenes, model = str(folder / "scenes"), folder / "finder"
    Scenes(output=scenes, num_images=2, num_val=options.rows).run()
    job = {"data": scenes, "size": SHAPES[options.shape], "epochs": 1, "max_tokens": 32}
    job |= {"freeze_vision": False}  # as it starts from nothing
    training = FirstStageTraining(FirstStageJob.model_validate(job))
    training.write_whole(training.begin(), model)
    source, seen, index = (str(folder / name) for name in ("scenes/images/val", "seen", "index"))
    words = ["annotate", source, seen, "--embed", str(model), "--set", "embed.queries=all"]
    words += ["--embed", f"features={model}", "--set", "features.write=features"]
    for command in (
        [*words, "--allow-licence", "unknown"],
        ["index", seen, index, "--column", "embeddings", "--features", "features"],
    ):
        assert lakesight_command(command) == 0
    assert lakesight.open(seen).dataset().count_rows() == options.rows
    return Searcher.open(index)


def ours(searcher: Searcher, model: ImageText, text: str, count: int) -> list[str]:
    """Return the URIs of the best candidates, ranked from what the index kept."""
    vectors = embed_text(text, model)
    hits = searcher.search(vectors[None], count).to_pylist()
    return [hit["uri"] for hit in reranked(searcher.features, model, text, hits)]


def rerun(searcher: Searcher, model: ImageText, text: str, count: int) -> dict[str, float]:
    """Return their scores by URI, the best first, from the pictures."""
    vectors = embed_text(text, model)
    hits = searcher.search(vectors[None], count).to_pylist()
    scores: dict[str, float] = {}
    for start in range(0, len(hits), 32):
        part = hits[start : start + 32]
        files = [local_path(hit["uri"]).read_bytes() for hit in part]
        views = [decode(data, [model.view], Limits()).views[0] for data in files]
        logits = model.match_logits(model.see_features(views), [text] * len(part))[:, 1].tolist()
        scores |= {hit["uri"]: one + hit["score"] for hit, one in zip(part, logits, strict=True)}
    return dict(sorted(scores.items(), key=lambda one: -one[1]))


if __name__ == "__main__":
    main()
