from pathlib import Path

import pytest

from lakesight.errors import UserError
from lakesight.lake.uris import canonical, file_uri, local_path, split_s3


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b.jpg", ("bucket", "a/b.jpg")),
        ("s3://bucket/a b%20c?d#e.jpg", ("bucket", "a b%20c?d#e.jpg")),
        ("s3://bucket/a//b", ("bucket", "a//b")),
        ("s3://bucket/mail@host:80", ("bucket", "mail@host:80")),
    ],
)
def test_an_s3_key_is_literal(uri: str, parts: tuple[str, str]) -> None:
    assert split_s3(uri) == parts


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(UserError) as caught:
        split_s3("s3://AKIAXYZ:hushhush@bucket/key")
    assert "AKIAXYZ" not in str(caught.value)
    assert "hushhush" not in str(caught.value)
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://b/key", "s3://a bucket/key"])
def test_a_bucket_needs_a_name(uri: str) -> None:
    with pytest.raises(UserError, match="bucket"):
        split_s3(uri)


@pytest.mark.parametrize(
    "name", ["plain.jpg", "a b.jpg", "100%.jpg", "%20.jpg", "ö日本.jpg", "a\nb.jpg", "a?b#c.jpg"]
)
def test_a_local_uri_leads_back_to_its_path(tmp_path: Path, name: str) -> None:
    uri = file_uri(tmp_path / name)
    assert uri.isascii()
    assert uri.isprintable()
    assert local_path(uri) == tmp_path / name
    assert canonical(uri) == uri
    assert canonical(str(tmp_path / name)) == uri


def test_a_local_uri_is_the_standard_librarys(tmp_path: Path) -> None:
    for name in ("a b.jpg", "100%.jpg", "ö.jpg", "~x_y-z.jpg"):
        assert file_uri(tmp_path / name) == (tmp_path / name).as_uri()


def test_relative_paths_are_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("photos/a.jpg") == tmp_path / "photos/a.jpg"


@pytest.mark.parametrize("uri", ["gs://bucket/key", "https://host/a.jpg", "az://x/y", "S3://b/k"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match="give s3://bucket/key, file:///path or a path"):
        canonical(uri)


def test_a_file_uri_is_absolute() -> None:
    with pytest.raises(UserError, match="file:///absolute/path"):
        local_path("file://host/a.jpg")
