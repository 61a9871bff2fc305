"""METEOR against pycocoevalcap 1.2 (goldens.json), and what is said where something is missing."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lakesight.errors import UserError
from lakesight.metrics import Bootstrap, CaptionEvaluator
from lakesight.metrics.language.meteor import additive, meteor
from lakesight.metrics.language.spice import scores_of

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
HAS_JAVA = shutil.which("java") is not None
HAS_PACKAGE = importlib.util.find_spec("pycocoevalcap") is not None
needs_meteor = pytest.mark.skipif(
    not (HAS_JAVA and HAS_PACKAGE), reason="needs Java and the extra `captions`"
)

CAT = [7, 6, 4, 4, 2, 2, 3, 3, *[0] * 12, 2, 5, 5]
DOGS = [6, 3, 3, 1, 1, 1, 1, 1, *[0] * 8, 1, 1, 1, 0, 1, 4, 3]
EMPTY = [0, 2, *[0] * 21]
SAME = [6, 6, 4, 4, 2, 2, 4, 4, *[0] * 12, 1, 6, 6]


def test_meteor_of_counts_is_that_of_the_program() -> None:
    """Counts and scores that meteor-1.5.jar printed, the fourth of the sum of three."""
    stats = np.array([CAT, DOGS, EMPTY, np.sum([CAT, DOGS, EMPTY], axis=0), SAME], float)
    expected = [0.43102513684496513, 0.40775208776942135, 0.0, 0.32779357564655703, 1.0]
    np.testing.assert_allclose(meteor(additive(stats)), expected, rtol=1e-12)


def test_a_caption_that_is_its_reference_adds_no_chunk() -> None:
    """The program's score of both together."""
    both = additive(np.array([CAT, SAME], float)).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(meteor(both), [0.5326904664885519], rtol=1e-12)


@needs_meteor
def test_meteor_is_that_of_the_reference() -> None:
    evaluator = CaptionEvaluator(extra=["meteor"])
    pictures = GOLDENS["pictures"]
    evaluator.update(
        list(range(len(pictures))),
        [one["caption"] for one in pictures],
        [one["references"] for one in pictures],
        [{"number": str(number)} for number in range(len(pictures))],
    )
    result = evaluator.result(Bootstrap(resamples=100))
    whole, *each = GOLDENS["scores"]["meteor"]
    assert result.values["meteor"] == pytest.approx(whole, rel=1e-9)
    assert result.intervals["meteor"].low < whole < result.intervals["meteor"].high
    alone = [evaluator.slices("number")[str(number)] for number in (0, 6, 22, 30)]
    expected = [each[number] for number in (0, 6, 22, 30)]
    assert [one.values["meteor"] for one in alone] == pytest.approx(expected, rel=1e-9)


@pytest.mark.skipif(HAS_JAVA, reason="needs a machine without Java")
def test_without_java_it_says_so() -> None:
    with pytest.raises(UserError, match="meteor runs in Java, and there is no `java`"):
        CaptionEvaluator(extra=["meteor"])


@pytest.mark.skipif(not HAS_JAVA or HAS_PACKAGE, reason="needs Java, without the package")
@pytest.mark.parametrize("metric", ["meteor", "spice"])
def test_without_the_package_it_says_so(metric: str) -> None:
    with pytest.raises(UserError, match=f"install the extra `captions` to use {metric}"):
        CaptionEvaluator(extra=[metric])  # type: ignore[list-item]


def test_another_metric_is_refused() -> None:
    with pytest.raises(UserError, match="extra metrics are 'meteor' and 'spice', but got 'wmd'"):
        CaptionEvaluator(extra=["wmd"])  # type: ignore[list-item]


def test_spice_scores_are_read_by_number() -> None:
    found = [
        {"image_id": number, "scores": {"All": {"pr": 0.5, "re": 0.2, "f": score}}}
        for number, score in ((1, None), (0, 0.25))
    ]
    np.testing.assert_array_equal(scores_of(found, 2), [0.25, np.nan])
    with pytest.raises(UserError, match="asked for 3 captions, but judged 2"):
        scores_of(found, 3)
