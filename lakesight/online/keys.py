"""API keys: how one is made, what of it is kept, and whether one that came is good.

A key is `lsk_<id>_<secret>`: the id is public (12 hex digits), the secret 256 random bits. Kept is
its SHA-256. That needs no slow hash: nobody can go through 2**256 secrets, however fast each is.
"""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime, Field, field_validator

from lakesight.errors import UserError
from lakesight.models.base import Frozen
from lakesight.online.prefixes import Prefix

ANY = "*"
"""In a scope: every model, or every index."""
TOKEN = re.compile(r"(ls[ks])_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
KEY, SESSION = "lsk", "lss"
SESSION_PURPOSE = b"lakesight session"


class Scopes(Frozen):
    """What a key may use."""

    models: tuple[str, ...] = (ANY,)
    """Names of models as they are served, or `*`."""
    indexes: tuple[str, ...] = (ANY,)
    """Names of indexes as they are served, or `*`."""
    s3: tuple[str, ...] = ()
    """s3:// prefixes that pictures may be read from, where the server allows them too."""
    metrics: bool = False
    """Whether `/metrics` may be read, which tells of everybody's requests."""

    @field_validator("s3")
    @classmethod
    def _each_is_a_prefix(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Prefix.parse(uri)) for uri in uris)

    def has_model(self, name: str) -> bool:
        """Return whether a model may be used."""
        return ANY in self.models or name in self.models

    def has_index(self, name: str) -> bool:
        """Return whether an index may be searched."""
        return ANY in self.indexes or name in self.indexes

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """The s3:// prefixes, as they are compared."""
        return tuple(map(Prefix.parse, self.s3))


class Rate(Frozen):
    """How often a key may ask: a bucket of `burst` requests, filled at `per_s`."""

    per_s: float = Field(gt=0, le=1e6)
    """Requests a second, on average. Each picture of a request beyond the first counts as one."""
    burst: int = Field(ge=1, le=1_000_000)
    """Requests at once, after a pause."""


class Key(Frozen):
    """One key as it is kept: enough to tell a good one, and nothing to make one of."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    """Public: logs and `lakesight keys` call the key so."""
    name: str = Field(min_length=1, max_length=100)
    """What it is for, in your words."""
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the secret."""
    session_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of what a browser holds after signing in, see `session_of`."""
    created: AwareDatetime
    expires: AwareDatetime | None = None
    """When it ends, or never."""
    scopes: Scopes = Scopes()
    rate: Rate | None = None
    """None: as often as it likes."""

    def is_over(self, now: datetime) -> bool:
        """Return whether the key has ended."""
        return self.expires is not None and now >= self.expires


class Made(NamedTuple):
    """A new key: what is kept, and what is shown once."""

    key: Key
    token: str


def make(
    name: str,
    scopes: Scopes | None = None,
    *,
    expires: datetime | None = None,
    rate: Rate | None = None,
) -> Made:
    """Return a new key. The token cannot be had again."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    token = f"{KEY}_{key_id}_{secret}"
    key = Key(
        id=key_id,
        name=name,
        secret_sha256=_sha256(secret),
        session_sha256=_sha256(_session_secret(secret)),
        created=datetime.now(UTC).replace(microsecond=0),
        expires=expires,
        scopes=scopes or Scopes(),
        rate=rate,
    )
    return Made(key, token)


def session_of(token: str) -> str:
    """Return what a browser keeps of a good key: it signs in, and does not tell the key.

    It is derived one way (HMAC-SHA256), and its hash lies beside the key's: no replica needs to
    remember sessions, revoking the key ends them, and the key file does not help to forge one.
    """
    found = TOKEN.fullmatch(token)
    assert found is not None
    assert found[1] == KEY, "only a key signs in"
    return f"{SESSION}_{found[2]}_{_session_secret(found[3])}"


def is_good(token: str, key: Key, kind: str, now: datetime) -> bool:
    """Return whether a token of a kind is that key's, and has not ended. In constant time."""
    found = TOKEN.fullmatch(token)
    if found is None or found[1] != kind or found[2] != key.id:
        return False
    kept = key.secret_sha256 if kind == KEY else key.session_sha256
    return hmac.compare_digest(_sha256(found[3]), kept) and not key.is_over(now)


def id_of(token: str) -> str | None:
    """Return the public id that a token names, or None where it has no token's form."""
    found = TOKEN.fullmatch(token)
    return found[2] if found else None


def redacted(text: str) -> str:
    """Return a text with the secret of each token in it left out."""
    return TOKEN.sub(r"\1_\2_…", text)


def parse_expiry(text: str, now: datetime) -> datetime:
    """Return when something ends: `12h`, `30d`, `8w`, or a time as ISO 8601 with its zone.

    Raises UserError for anything else, and for what is past.
    """
    span = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if span:
        hours = {"h": 1, "d": 24, "w": 24 * 7}[span[2]]
        return now + timedelta(hours=int(span[1]) * hours)
    wrong = f"expected 12h, 30d, 8w or a time such as 2030-01-31T00:00Z, got {text!r}"
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(wrong) from None
    if when.tzinfo is None:
        raise UserError(f"{wrong}: a time needs its zone, such as Z at its end")
    if when <= now:
        raise UserError(f"{text} is past: a key that ends then is of no use")
    return when


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _session_secret(secret: str) -> str:
    derived = hmac.digest(secret.encode("ascii"), SESSION_PURPOSE, "sha256")
    return base64.urlsafe_b64encode(derived).decode("ascii").rstrip("=")
