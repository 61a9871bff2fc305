import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from lakesight.errors import UserError
from lakesight.online.keys import (
    KEY,
    SESSION,
    Scopes,
    id_of,
    is_good,
    make,
    parse_expiry,
    redacted,
    session_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_key_is_good_for_itself_alone() -> None:
    made, other = make("one"), make("two")
    assert is_good(made.token, made.key, KEY, NOW)
    assert not is_good(other.token, made.key, KEY, NOW)
    changed = made.token[:-1] + ("A" if made.token[-1] != "A" else "B")
    assert not is_good(changed, made.key, KEY, NOW)
    spliced = "_".join(["lsk", made.key.id, other.token.split("_", 2)[2]])
    assert not is_good(spliced, made.key, KEY, NOW)


def test_a_secret_has_256_bits_and_is_new_every_time() -> None:
    tokens = {make("k").token for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token.split("_", 2)[2]) == 43 for token in tokens)  # 43 * 6 bits >= 256


def test_what_is_kept_holds_a_hash_and_no_secret() -> None:
    made = make("one")
    kept = made.key.model_dump_json()
    secret = made.token.split("_", 2)[2]
    assert secret not in kept
    assert session_of(made.token).split("_", 2)[2] not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    assert made.key.id in kept


def test_a_session_signs_in_and_is_no_key() -> None:
    made = make("one")
    session = session_of(made.token)
    assert is_good(session, made.key, SESSION, NOW)
    assert not is_good(session, made.key, KEY, NOW)
    assert not is_good(session.replace("lss_", "lsk_"), made.key, KEY, NOW)
    assert not is_good(made.token, made.key, SESSION, NOW)
    assert not is_good(made.token.replace("lsk_", "lss_"), made.key, SESSION, NOW)


def test_a_key_ends() -> None:
    made = make("one", expires=NOW)
    assert is_good(made.token, made.key, KEY, NOW - timedelta(seconds=1))
    assert not is_good(made.token, made.key, KEY, NOW)


@pytest.mark.parametrize(
    "token", ["", "lsk", "lsk_abc_def", "lsk_" + "0" * 12 + "_" + "é" * 43, "x" * 100_000, "\x00"]
)
def test_what_is_no_token_is_no_key(token: str) -> None:
    made = make("one")
    assert id_of(token) is None
    assert not is_good(token, made.key, KEY, NOW)


def test_a_token_is_left_out_of_a_text() -> None:
    made = make("one")
    text = redacted(f"GET /x?key={made.token}&other=1")
    assert text == f"GET /x?key=lsk_{made.key.id}_…&other=1"
    assert made.token.split("_", 2)[2] not in redacted(session_of(made.token))


def test_scopes_hold_what_they_name() -> None:
    scopes = Scopes(models=("yolo",), indexes=("photos",), s3=("s3://lake/a",))
    assert scopes.has_model("yolo")
    assert not scopes.has_model("yolo2")
    assert not scopes.has_model("*")
    assert scopes.has_index("photos")
    assert not scopes.has_index("phot")
    assert Scopes().has_model("anything")
    assert scopes.s3 == ("s3://lake/a/",)
    assert [prefix.has("lake", "a/b.jpg") for prefix in scopes.prefixes] == [True]


def test_a_scope_of_no_s3_prefix_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected s3://bucket/"):
        Scopes(s3=("https://lake/a",))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("12h", NOW + timedelta(hours=12)),
        ("30d", NOW + timedelta(days=30)),
        ("8w", NOW + timedelta(weeks=8)),
        ("2030-01-31T00:00Z", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T02:00+02:00", datetime(2030, 1, 31, tzinfo=UTC)),
    ],
)
def test_when_a_key_ends(text: str, end: datetime) -> None:
    assert parse_expiry(text, NOW) == end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "expected 12h"),
        ("0d", "expected 12h"),
        ("2030-01-31", "needs its zone"),
        ("2020-01-31T00:00Z", "is past"),
    ],
)
def test_an_end_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_expiry(text, NOW)
