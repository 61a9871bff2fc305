from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from lakesight.errors import UserError
from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.schemas import LISTING

KEYS = ["a.jpg", "b.PNG", "sub/c.webp", "sub/deep/d.jpeg", "sub/e.txt", "f.mp4", "sub.jpg/g.gif"]


@pytest.fixture
def root(new_root: Callable[[], str]) -> str:
    root = new_root()
    store, prefix = Store.open(root)
    for key in KEYS:
        store.put(f"{prefix}/{key}" if prefix else key, key.encode())
    return root


def listed(source: Source, root: str, skipped: Counter[str] | None = None) -> list[str]:
    """Return the keys relative to `root`."""
    store, prefix = Store.open(root)
    uris = []
    for page in source.list(skipped):
        assert page.schema == LISTING
        uris += page["uri"].to_pylist()
    below = store.uri(prefix).rstrip("/") + "/"
    assert all(uri.startswith(below) for uri in uris)
    keys = [uri.removeprefix(below) for uri in uris]
    return keys if root.startswith("s3://") else [unquote(key) for key in keys]


def test_a_folder_gives_its_images_and_counts_the_rest(root: str) -> None:
    skipped: Counter[str] = Counter()
    found = listed(Source(uri=root), root, skipped)
    assert sorted(found) == ["a.jpg", "b.PNG", "sub.jpg/g.gif", "sub/c.webp", "sub/deep/d.jpeg"]
    assert skipped == {".txt": 1, ".mp4": 1}


def test_a_slash_at_the_end_changes_nothing(root: str) -> None:
    assert listed(Source(uri=root + "/"), root) == listed(Source(uri=root), root)


def test_what_is_known_of_an_object(root: str) -> None:
    store, prefix = Store.open(root)
    (page,) = Source(uri=f"{root}/a.jpg").list()
    (row,) = page.to_pylist()
    entry = store.head(f"{prefix}/a.jpg" if prefix else "a.jpg")
    assert entry is not None
    assert row == {"uri": f"{store.uri(prefix).rstrip('/')}/a.jpg", **entry._asdict()}
    assert row["size"] == 5


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.mp4"], [], ["f.mp4"]),
        (["*.jpg", "*.txt"], [], ["a.jpg", "sub/e.txt"]),
        (["sub/**"], [], ["sub/c.webp", "sub/deep/d.jpeg", "sub/e.txt"]),
        (["sub/*"], ["*.txt"], ["sub/c.webp"]),
        ([], ["sub/**"], ["a.jpg", "b.PNG", "sub.jpg/g.gif"]),
        ([], ["*.jpg", "**/deep/*"], ["b.PNG", "sub.jpg/g.gif", "sub/c.webp"]),
    ],
)
def test_include_and_exclude(
    root: str, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    source = Source(uri=root, include=tuple(include), exclude=tuple(exclude))
    assert sorted(listed(source, root)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jp*g", ["a.jpg", "sub/deep/d.jpeg"]),
        ("sub/*", ["sub/c.webp", "sub/e.txt"]),
        ("su?/*/[d]*", ["sub/deep/d.jpeg"]),
        ("**", sorted(KEYS)),
    ],
)
def test_a_glob_is_taken_whole(root: str, pattern: str, expected: list[str]) -> None:
    skipped: Counter[str] = Counter()
    assert sorted(listed(Source(uri=f"{root}/{pattern}"), root, skipped)) == expected
    assert not skipped


def test_a_glob_of_plain_paths_is_the_standard_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for pattern in ("*.jpg", "**/*.jpeg", "sub/*", "*/*/*", "s*/[a-d]*"):
        expected = sorted(str(path) for path in Path().glob(pattern) if path.is_file())
        assert sorted(listed(Source(uri=pattern), str(tmp_path))) == expected


def test_one_object_is_taken_whatever_its_suffix(root: str) -> None:
    assert listed(Source(uri=f"{root}/f.mp4"), root) == ["f.mp4"]


def test_magic_in_the_name_of_an_object_or_a_folder(new_root: Callable[[], str]) -> None:
    root = new_root()
    store, prefix = Store.open(root)
    for key in ("one[1].jpg", "two[2]/a.jpg"):
        store.put(f"{prefix}/{key}" if prefix else key, b"x")
    assert listed(Source(uri=f"{root}/one[1].jpg"), root) == ["one[1].jpg"]
    if not root.startswith("s3://"):
        assert listed(Source(uri=f"{root}/two[2]"), root) == ["two[2]/a.jpg"]


def test_an_object_and_a_folder_of_the_same_name(shared_bucket: str) -> None:
    """S3 allows it: without a slash it is the object, with one the folder."""
    root = f"s3://{shared_bucket}/twins"
    store, _ = Store.open(root)
    store.put("twins/a.jpg", b"x")
    store.put("twins/b/c.jpg", b"x")
    assert listed(Source(uri=f"{root}/a.jpg"), root) == ["a.jpg"]
    assert listed(Source(uri=f"{root}/a.jpg/"), root) == []
    assert listed(Source(uri=f"{root}/b"), root) == ["b/c.jpg"]


def test_no_such_folder(tmp_path: Path) -> None:
    for name in ("none", "none/*.jpg"):
        with pytest.raises(UserError, match=f"there is no .*folder {tmp_path}/none"):
            list(Source(uri=str(tmp_path / name)).list())


def test_a_source_is_frozen_and_says_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Source(uri="a"), "uri", "b")  # noqa: B010 - mypy knows that it cannot work
    with pytest.raises(ValueError, match="Extra inputs"):
        Source.model_validate({"uri": "a", "glob": "b"})
