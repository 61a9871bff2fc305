"""ROUGE-L, Lin 2004: how much of a caption and of a reference is in the same order in both."""

from collections.abc import Sequence

BETA = 1.2
"""How much more recall counts than precision."""


def rouge_l(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the F of the best precision and the best recall over the references.

    As in the published evaluation these may be of two references. 0 where a caption has no word.
    """
    common = [common_length(caption, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(caption)
    recall = max(
        length / len(reference)
        for length, reference in zip(common, references, strict=True)
        if reference
    )
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    By bits, in one step for each word of `second` (Hyyrö 2004): a 0 of `row` is a place of `first`
    where the length grows.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = row = (1 << len(first)) - 1
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & full
    return (full & ~row).bit_count()
