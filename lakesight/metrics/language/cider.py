"""CIDEr and CIDEr-D, arXiv:1411.5726: word runs in common, rare ones counting more."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lakesight.metrics.language.ngrams import MAX_WORDS, NGrams

SIGMA = 6.0
"""Of the Gaussian by which CIDEr-D punishes another length than the reference's, in words."""

SCALE = 10.0
"""Of CIDEr-D; plain CIDEr has none."""


@dataclass
class DocumentFrequency:
    """In the references of how many pictures each run of one to four words is."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    num_pictures: int = 0

    def add(self, references: Iterable[NGrams]) -> None:
        """Count the references of one picture."""
        self.counts.update({run for one in references for runs in one for run in runs})
        self.num_pictures += 1


@dataclass(frozen=True)
class _Vectors:
    """A sentence: how much each of its runs weighs."""

    weights: tuple[dict[tuple[str, ...], float], ...]
    norms: tuple[float, ...]
    num_pairs: int
    """Runs of two words: the published evaluation takes these for the length."""


def cider(
    captions: Sequence[NGrams],
    references: Sequence[Sequence[NGrams]],
    frequency: DocumentFrequency,
) -> list[tuple[float, float]]:
    """Return CIDEr-D and plain CIDEr of each caption, by its references.

    CIDEr-D is what the published evaluation prints as "CIDEr": 0 to 10. Plain CIDEr is the paper's
    equation 3, 0 to 1, which neither clips counts nor looks at lengths. Neither stems words, and a
    run that no reference has weighs as much as one that a single picture has.
    """
    log_total = math.log(max(frequency.num_pictures, 1))
    known: dict[tuple[str, ...], float] = {
        run: log_total - math.log(count) for run, count in frequency.counts.items()
    }

    def vectors(sentence: NGrams) -> _Vectors:
        weights = tuple(
            {run: count * known.get(run, log_total) for run, count in runs.items()}
            for runs in sentence
        )
        norms = tuple(math.sqrt(sum(one * one for one in runs.values())) for runs in weights)
        return _Vectors(weights, norms, sentence[1].total())

    scores = []
    for caption, others in zip(captions, references, strict=True):
        own = vectors(caption)
        both = [_similarities(own, vectors(other)) for other in others]
        clipped, plain = (sum(one) / len(both) for one in zip(*both, strict=True))
        scores.append((SCALE * clipped, plain))
    return scores


def _similarities(own: _Vectors, other: _Vectors) -> tuple[float, float]:
    """Return the mean cosines over 1 to 4 words: clipped and with the penalty, and plain."""
    clipped = plain = 0.0
    for size in range(MAX_WORDS):
        scale = own.norms[size] * other.norms[size]
        if not scale:
            continue
        theirs = other.weights[size]
        shared = [(mine, theirs[run]) for run, mine in own.weights[size].items() if run in theirs]
        clipped += sum(min(mine, one) * one for mine, one in shared) / scale
        plain += sum(mine * one for mine, one in shared) / scale
    penalty = math.exp(-((own.num_pairs - other.num_pairs) ** 2) / (2 * SIGMA**2))
    return penalty * clipped / MAX_WORDS, plain / MAX_WORDS
