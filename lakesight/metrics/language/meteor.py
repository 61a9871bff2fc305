"""METEOR 1.5, Denkowski and Lavie 2014: words that match exactly, by stem, meaning or paraphrase.

The matching is done in Java; the score is made here of the numbers that it returns, so that those
of any draw of pictures can be added up.
"""

from collections.abc import Sequence

import numpy as np

from lakesight.errors import UserError
from lakesight.metrics.language.java import meteor_jar, run_java
from lakesight.metrics.objects import Floats

NUM_STATS = 23
"""Words of caption and reference, function words of both; for each kind of match (exact, stem,
synonym, paraphrase) matched content words of both and function words of both; chunks; matched words
of both."""

WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Of the kinds of match, for English, as the three below."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75


def meteor_stats(
    captions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Floats:
    """Return `(N, 23)` counts, those of the reference that fits each caption best.

    About 10 s to start; needs 2 GB.
    """
    lines = [
        " ||| ".join(["SCORE", *(" ".join(words) for words in texts), " ".join(caption)])
        for caption, texts in zip(captions, references, strict=True)
    ]
    java = ("-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(meteor_jar()))
    options = ("-", "-", "-stdio", "-l", "en", "-norm")
    printed = run_java(*java, *options, text="\n".join([*lines, ""]))
    rows = [line.split() for line in printed.splitlines()]
    if len(rows) != len(lines) or any(len(row) != NUM_STATS for row in rows):
        raise UserError(f"METEOR was asked for {len(lines)} captions, but said: {printed[:500]}")
    return additive(np.array(rows, np.float64).reshape(len(rows), NUM_STATS))


def additive(stats: Floats) -> Floats:
    """Return counts that may be added up: a caption that is its reference is in no chunk."""
    whole = (stats[:, 20] == 1) & (stats[:, 21:23] == stats[:, 0:2]).all(axis=1)
    added = stats.copy()
    added[whole, 20] = 0
    return added


def meteor(stats: Floats) -> Floats:
    """Return METEOR `(R,)` of summed counts `(R, 23)`, see `additive`; 0 where nothing matches."""
    lengths, function = stats[:, 0:2], stats[:, 2:4]
    kinds = stats[:, 4:20].reshape(-1, 4, 2, 2)  # (R, kind, content or function, of which)
    matched = np.einsum("rkwo,k,w->ro", kinds, WEIGHTS, [DELTA, 1 - DELTA])
    total = DELTA * (lengths - function) + (1 - DELTA) * function
    precision, recall = (matched / np.maximum(total, 1e-12)).T
    mean = precision * recall / np.maximum(ALPHA * precision + (1 - ALPHA) * recall, 1e-12)
    chunks, words = stats[:, 20], stats[:, 21:23]
    parts = chunks / np.maximum(words.mean(axis=1), 1e-12)
    return np.asarray(mean * (1 - GAMMA * parts**BETA))
