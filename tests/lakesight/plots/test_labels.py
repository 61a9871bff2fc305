from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lakesight.plots import label_statistics
from lakesight.training.yolo.datasets import Labelled, Pictures


def labelled(size_wh: tuple[int, int], ids: list[int], boxes: list[list[float]]) -> Labelled:
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Labelled(Path("never read"), size_wh, found, np.array(ids, np.int64))


def bars(axes: Axes) -> list[tuple[float, float]]:
    """Return width and height of every bar."""
    drawn = [each for each in axes.patches if isinstance(each, Rectangle)]
    return [(bar.get_width(), bar.get_height()) for bar in drawn]


PICTURES = [
    labelled((200, 100), [0, 1, 1], [[0, 0, 100, 100], [0, 0, 20, 10], [0, 0, 40, 40]]),
    labelled((100, 100), [1], [[10, 10, 60, 60]]),
    labelled((100, 100), [], []),
]


def test_classes_numbers_and_sizes_are_counted() -> None:
    figure = label_statistics(Pictures(("cat", "dog", "cow"), PICTURES, "detect"))
    classes, per_picture, shape, size = figure.axes[:4]
    assert [each.get_text() for each in classes.get_yticklabels()] == ["dog", "cat", "cow"]
    assert [width for width, _ in bars(classes)] == [3, 1, 0]
    assert classes.get_title() == "4 objects of 3 classes"
    assert [height for _, height in bars(per_picture)] == [1, 1, 0, 1]
    assert per_picture.get_title() == "3 pictures, 1 without an object"
    counts = np.asarray(shape.collections[0].get_array()).reshape(40, 40)
    assert sorted(map(tuple, np.argwhere(counts > 0).tolist())) == [
        *((4, 4), (16, 8), (20, 20), (39, 20)),
    ], "height and width in fortieths of the picture's sides"
    assert sum(height for _, height in bars(size)) == 4
    assert size.get_title() == "1 small, 2 medium, 1 large"


def test_classified_pictures_have_classes_only() -> None:
    pictures = [labelled((9, 9), [number % 2], []) for number in range(5)]
    (classes,) = label_statistics(Pictures(("cat", "dog"), pictures, "classify")).axes
    assert [width for width, _ in bars(classes)] == [3, 2]
    assert classes.get_xlabel() == "number of pictures"


def test_a_dataset_without_an_object_is_no_error() -> None:
    figure = label_statistics(Pictures(("cat",), PICTURES[2:], "detect"))
    figure.canvas.draw()
    assert figure.axes[0].get_title() == "0 objects of 1 classes"


def test_of_many_classes_the_most_frequent_are_shown() -> None:
    labels = tuple(f"class {number}" for number in range(50))
    pictures = [labelled((9, 9), [number] * (1 + number), []) for number in range(50)]
    (classes,) = label_statistics(Pictures(labels, pictures, "classify")).axes
    shown = [each.get_text() for each in classes.get_yticklabels()]
    assert shown == [f"class {number}" for number in range(49, 19, -1)]
    assert "the 30 most frequent" in classes.get_title()
