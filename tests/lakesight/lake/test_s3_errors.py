import pytest

from lakesight.errors import UserError
from lakesight.lake.s3_errors import meaning
from lakesight.lake.store import ChangedError, ForbiddenError, NoBucketError, StoreError


@pytest.mark.parametrize(
    ("code", "status", "kind", "expected"),
    [
        ("NoSuchBucket", 404, "GenericError", NoBucketError),
        ("NoSuchKey", 404, "FileNotFoundError", FileNotFoundError),
        ("", 404, "FileNotFoundError", FileNotFoundError),
        ("PreconditionFailed", 412, "PreconditionError", ChangedError),
        ("AccessDenied", 403, "PermissionDeniedError", ForbiddenError),
        ("", 403, "PermissionDeniedError", ForbiddenError),
        ("ExpiredToken", 400, "GenericError", UserError),
        ("PermanentRedirect", 301, "GenericError", UserError),
        ("SlowDown", 503, "GenericError", StoreError),
        ("InternalError", 500, "GenericError", StoreError),
        ("", 0, "GenericError", StoreError),
    ],
)
def test_an_answer_and_its_meaning(
    code: str, status: int, kind: str, expected: type[Exception]
) -> None:
    """Codes from https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html."""
    assert type(meaning("bucket", "key", code, status, kind)) is expected
