"""How often each run of one to four words is in a sentence."""

from collections import Counter
from collections.abc import Sequence

MAX_WORDS = 4

NGrams = tuple[Counter[tuple[str, ...]], ...]
"""For 1 to 4 words: how often each run is there."""


def ngrams(words: Sequence[str]) -> NGrams:
    """Return the runs of a sentence."""
    return tuple(
        Counter(zip(*(words[start:] for start in range(size)), strict=False))
        for size in range(1, MAX_WORDS + 1)
    )
