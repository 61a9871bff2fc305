"""What an S3 client raises, as what it means: one line, without keys, signatures or XML."""

import contextlib
import re
from collections.abc import Iterator

from lakesight.errors import UserError
from lakesight.lake.store import ChangedError, ForbiddenError, NoBucketError, StoreError

CODE = re.compile(r"<Code>(\w+)</Code>")
STATUS = re.compile(r"status code: (\d{3})")
BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
}
WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}


@contextlib.contextmanager
def explained(bucket: str, key: str | None = None) -> Iterator[None]:
    """Turn obstore's errors into ours. A server's answer may hold the access key: it stays here."""
    from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError

    try:
        yield
    except (AlreadyExistsError, InvalidPathError) as error:
        raise type(error)(f"s3://{bucket}/{key or ''}") from None
    except ValueError as error:
        if "Could not parse path" not in str(error):
            raise
        raise UserError(
            f"cannot write {key!r} to s3://{bucket}: choose a name without control characters, "
            "without empty parts, and without . or .. as a part"
        ) from None
    except (BaseError, FileNotFoundError) as error:
        code = _first(CODE, str(error))
        status = int(_first(STATUS, str(error)) or 0)
        raise meaning(bucket, key, code, status, type(error).__name__) from None


def meaning(bucket: str, key: str | None, code: str, status: int, kind: str) -> Exception:
    """Return the exception for an answer of S3: its code, its HTTP status, the client's name."""
    where = f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
    if code == "NoSuchBucket":
        return NoBucketError(
            f"there is no bucket {bucket!r} at this endpoint: create it, or check it"
        )
    if code in BAD_CREDENTIALS:
        return UserError(
            f"s3://{bucket} refuses the AWS credentials ({code}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile"
        )
    if code in WRONG_REGION or status == 301:
        return UserError(f"s3://{bucket} lies in another region: set AWS_REGION to it ({code})")
    if status in {401, 403}:
        return ForbiddenError(
            f"no permission for {where} ({code or status}): ask for s3:GetObject, s3:ListBucket "
            "and, for an output, s3:PutObject"
        )
    if status == 404 or kind == "FileNotFoundError":
        return FileNotFoundError(where)
    if status == 412 or kind == "PreconditionError":
        return ChangedError(where)
    if not (code or status):
        return StoreError(
            f"{where}: no answer: check AWS_ENDPOINT_URL, or the profile, and that its "
            "server can be reached"
        )
    return StoreError(f"{where}: {code or status} ({kind})")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""
