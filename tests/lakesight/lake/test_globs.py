import re
from pathlib import PurePosixPath

import pyarrow as pa
import pytest

from lakesight.lake.globs import is_image, matches, to_regex

KEYS = [
    "a.jpg",
    "b.JPG",
    "x/a.jpg",
    "x/y/a.jpg",
    "x/y/b.png",
    "x/a.jpg.txt",
    "[1].jpg",
    "1.jpg",
    "n\nl.jpg",
    "x/.jpg",
    "ö.jpg",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (
            "*.jpg",
            ["a.jpg", "x/a.jpg", "x/y/a.jpg", "[1].jpg", "1.jpg", "n\nl.jpg", "x/.jpg", "ö.jpg"],
        ),
        ("/*.jpg", ["a.jpg", "[1].jpg", "1.jpg", "n\nl.jpg", "ö.jpg"]),
        ("x/*.jpg", ["x/a.jpg", "x/.jpg"]),
        ("x/**/*.jpg", ["x/a.jpg", "x/y/a.jpg", "x/.jpg"]),
        ("x/**", ["x/a.jpg", "x/y/a.jpg", "x/y/b.png", "x/a.jpg.txt", "x/.jpg"]),
        ("**/y/*", ["x/y/a.jpg", "x/y/b.png"]),
        ("?.jpg", ["a.jpg", "x/a.jpg", "x/y/a.jpg", "1.jpg", "ö.jpg"]),
        ("[0-9].jpg", ["1.jpg"]),
        ("[!0-9].jpg", ["a.jpg", "x/a.jpg", "x/y/a.jpg", "ö.jpg"]),
        ("[[]1].jpg", ["[1].jpg"]),
        ("n?l.*", ["n\nl.jpg"]),
        ("[.jpg", []),
        ("(a|b).jpg", []),
    ],
)
def test_a_glob(pattern: str, expected: list[str]) -> None:
    keys = pa.chunked_array([KEYS])
    assert keys.filter(matches(keys, [pattern])).to_pylist() == expected
    assert [key for key in KEYS if re.search(to_regex(pattern), key)] == expected


@pytest.mark.parametrize("pattern", ["*", "a*", "?.jpg", "[ab].jpg", "*.txt", "x*"])
def test_a_pattern_for_names_is_that_of_pathlib(pattern: str) -> None:
    expected = [key for key in KEYS if PurePosixPath(key).match(pattern)]
    keys = pa.chunked_array([KEYS])
    assert keys.filter(matches(keys, [pattern])).to_pylist() == expected


def test_any_of_several_patterns() -> None:
    keys = pa.chunked_array([KEYS])
    assert keys.filter(matches(keys, ["*.png", "*.txt"])).to_pylist() == [
        "x/y/b.png",
        "x/a.jpg.txt",
    ]


def test_images_by_suffix_in_either_case() -> None:
    keys = pa.chunked_array(
        [["a.JPEG", "b.webp", "c.Tif", "d.HEIC", "e.mp4", "jpg", "f.jpg.gz", "g.jpg\n"]]
    )
    assert keys.filter(is_image(keys)).to_pylist() == ["a.JPEG", "b.webp", "c.Tif", "d.HEIC"]
