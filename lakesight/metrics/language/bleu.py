"""BLEU, Papineni et al. 2002: which part of a caption's word runs its references have."""

from collections.abc import Sequence

import numpy as np

from lakesight.metrics.language.ngrams import MAX_WORDS, NGrams
from lakesight.metrics.objects import Floats

NUM_COUNTS = 2 * MAX_WORDS + 2

MATCHED, GUESSED = 1e-15, 1e-9
"""What the published evaluation adds to both counts, and to both lengths, lest one be 0."""


def bleu_counts(caption: NGrams, references: Sequence[NGrams]) -> list[int]:
    """Return the counts of one caption that `bleu` adds up.

    Of 1 to 4 words each: runs that a reference has at least as often, all runs; then the words of
    the caption, and of the reference whose length is closest (of two, the shorter).
    """
    matched = [
        sum(min(count, max(one[size][run] for one in references)) for run, count in runs.items())
        for size, runs in enumerate(caption)
    ]
    length = caption[0].total()
    lengths = [one[0].total() for one in references]
    closest = min(lengths, key=lambda other: (abs(other - length), other))
    return [*matched, *(runs.total() for runs in caption), length, closest]


def bleu(counts: Floats) -> Floats:
    """Return BLEU-1 to BLEU-4, `(R, 4)`, of summed counts `(R, 10)`."""
    matched, guessed = counts[:, :MAX_WORDS] + MATCHED, counts[:, MAX_WORDS : 2 * MAX_WORDS]
    logs = np.log(matched / (guessed + GUESSED)).cumsum(axis=1) / np.arange(1, MAX_WORDS + 1)
    ratio = (counts[:, -2:-1] + MATCHED) / (counts[:, -1:] + GUESSED)
    return np.asarray(np.exp(logs + np.minimum(1 - 1 / ratio, 0)))
