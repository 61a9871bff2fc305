import pytest

from lakesight.errors import UserError
from lakesight.online.prefixes import Prefix, is_under, locate


@pytest.mark.parametrize(
    ("prefix", "key", "holds"),
    [
        ("s3://lake", "a.jpg", True),
        ("s3://lake/", "a/b.jpg", True),
        ("s3://lake/a", "a/b.jpg", True),
        ("s3://lake/a/", "a/b/c.jpg", True),
        ("s3://lake/a", "ab/c.jpg", False),
        ("s3://lake/a/", "ab/c.jpg", False),
        ("s3://lake/a", "a", False),
        ("s3://lake/a", "A/b.jpg", False),
        ("s3://lake/a", "b/a/c.jpg", False),
        ("s3://lake/a", "a%2f..%2fb.jpg", False),
        ("s3://lake2", "a.jpg", False),
        ("s3://lak", "a.jpg", False),
    ],
)
def test_what_lies_under_a_prefix(prefix: str, key: str, holds: bool) -> None:
    assert Prefix.parse(prefix).has("lake", key) is holds
    assert is_under("lake", key, [Prefix("other", ""), Prefix.parse(prefix)]) is holds


def test_nothing_lies_under_no_prefix() -> None:
    assert not is_under("lake", "a.jpg", [])


@pytest.mark.parametrize(
    "uri",
    [
        "lake/a",
        "file:///etc",
        "https://lake/a",
        "s3://",
        "s3://lake/a/../b",
        "s3://lake//a",
        "s3://lake/a//",
        "s3://lake/./a",
        "s3://lake/a\\b",
        "s3://key:secret@lake/a",
    ],
)
def test_what_is_no_prefix(uri: str) -> None:
    with pytest.raises(UserError):
        Prefix.parse(uri)


def test_an_object_is_located() -> None:
    assert locate("s3://lake/a/b c%20ü.jpg") == ("lake", "a/b c%20ü.jpg")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://lake",
        "s3://lake/",
        "s3://lake/a/",
        "s3://lake/../other/a.jpg",
        "s3://lake/a/../../b.jpg",
        "s3://lake/a/..",
        "s3://lake/./a.jpg",
        "s3://lake//a.jpg",
        "s3://lake/a//b.jpg",
        "s3://lake/a\\..\\b.jpg",
        "s3://lake/a\x00.jpg",
        "s3://lake/a\n.jpg",
        "s3://lake/" + "a" * 1025,
        "s3://la ke/a.jpg",
        "s3://key:secret@lake/a.jpg",
        "s3://lake:443/a.jpg",
    ],
)
def test_what_no_request_may_name(uri: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(uri)
    assert "secret" not in str(caught.value)
