import asyncio
from collections.abc import Callable, Iterator

import pytest

from lakesight.online.access import Caller
from lakesight.online.https import HttpsSettings
from lakesight.online.keys import Scopes, make
from lakesight.online.problems import Problem
from lakesight.online.rates import Buckets
from lakesight.online.sources import SourceError, Sources, SourceSettings
from workflows.s3_server import S3Server

NOBODY = Caller(None, "nobody", Buckets())


@pytest.fixture
def bucket(new_bucket: Callable[[], str], s3_server: S3Server) -> str:
    name = new_bucket()
    for key in ("a/one.jpg", "ab/two.jpg", "secret.jpg", "a/ü %20.jpg"):
        s3_server.client().put_object(Bucket=name, Key=key, Body=key.encode())
    return name


@pytest.fixture
def sources(bucket: str) -> Iterator[Sources]:
    found = Sources(SourceSettings(s3=(f"s3://{bucket}/a",), max_bytes=20))
    yield found
    found.close()


def read(sources: Sources, uri: str, caller: Caller = NOBODY) -> bytes:
    return asyncio.run(sources.read(uri, caller))


def test_an_object_under_the_prefix_is_read(sources: Sources, bucket: str) -> None:
    for key in ("a/one.jpg", "a/ü %20.jpg"):
        assert read(sources, f"s3://{bucket}/{key}") == key.encode()


@pytest.mark.parametrize(
    "key",
    [
        "secret.jpg",
        "ab/two.jpg",
        "none.jpg",
        "a/../secret.jpg",
        "a/./../secret.jpg",
        "a//../secret.jpg",
        "a\\..\\secret.jpg",
        "a",
        "a/",
        "",
        "/a/one.jpg",
    ],
)
def test_what_lies_elsewhere_is_refused_whether_it_is_there_or_not(
    sources: Sources, bucket: str, key: str
) -> None:
    with pytest.raises(Problem) as caught:
        read(sources, f"s3://{bucket}/{key}")
    assert caught.value.kind == "uri-refused"
    assert caught.value.status == 403


def test_percent_signs_are_letters_of_a_key(sources: Sources, bucket: str) -> None:
    with pytest.raises(SourceError, match="no such object"):
        read(sources, f"s3://{bucket}/a/%2e%2e/secret.jpg")
    with pytest.raises(SourceError, match="no such object"):
        read(sources, f"s3://{bucket}/a/..%2fsecret.jpg")


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "../secret.jpg",
        "http://localhost/a.jpg",
        "https://localhost/a.jpg",
        "S3://shared/a.jpg",
        "s3:/shared/a.jpg",
        "data:image/png;base64,AA==",
        "s3://user:secret@bucket/a.jpg",
        "",
    ],
)
def test_other_addresses_are_refused(sources: Sources, uri: str) -> None:
    with pytest.raises(Problem) as caught:
        read(sources, uri)
    assert caught.value.kind == "uri-refused"
    assert "secret" not in caught.value.detail


def test_without_settings_nothing_is_read(bucket: str) -> None:
    with pytest.raises(Problem):
        read(Sources(SourceSettings()), f"s3://{bucket}/a/one.jpg")


def test_the_key_has_to_allow_it_too(sources: Sources, bucket: str) -> None:
    none = Caller(make("k").key, "key", Buckets())
    right = Caller(make("k", Scopes(s3=(f"s3://{bucket}/",))).key, "key", Buckets())
    with pytest.raises(Problem):
        read(sources, f"s3://{bucket}/a/one.jpg", none)
    assert read(sources, f"s3://{bucket}/a/one.jpg", right) == b"a/one.jpg"
    with pytest.raises(Problem):
        read(sources, f"s3://{bucket}/secret.jpg", right)


def test_what_cannot_be_had_says_why(bucket: str, s3_server: S3Server) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="a/large.jpg", Body=b"x" * 21)
    settings = SourceSettings(s3=(f"s3://{bucket}/", "s3://no-such-bucket/"), max_bytes=20)
    sources = Sources(settings)
    for uri, reason in {
        f"s3://{bucket}/a/none.jpg": "not found",
        f"s3://{bucket}/a/large.jpg": "too large",
        "s3://no-such-bucket/a.jpg": "no bucket",
    }.items():
        with pytest.raises(SourceError) as caught:
            read(sources, uri)
        assert caught.value.reason == reason
    sources.close()


def test_https_where_it_is_switched_on_is_refused_by_address() -> None:
    settings = SourceSettings(https=HttpsSettings(hosts=("localhost",)))
    with pytest.raises(Problem, match="not public") as caught:
        read(Sources(settings), "https://localhost/a.jpg")
    assert caught.value.kind == "uri-refused"
    with pytest.raises(Problem, match="none of those"):
        read(Sources(settings), "https://evil.example/a.jpg")
    with pytest.raises(Problem, match="only https"):
        read(Sources(settings), "http://localhost/a.jpg")


def test_a_server_that_does_not_answer_is_an_error_of_that_picture() -> None:
    https = HttpsSettings(hosts=("localhost",), ports=(1,), networks=("127.0.0.0/8", "::1/128"))
    with pytest.raises(SourceError, match="did not answer") as caught:
        read(Sources(SourceSettings(https=https)), "https://localhost:1/a.jpg")
    assert caught.value.reason == "unreadable"
