import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakesight.errors import UserError
from lakesight.online.key_file import KeyFile, KeyRing, add, default_path, read, remove, write
from lakesight.online.keys import KEY, SESSION, make, session_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def test_keys_are_kept_for_their_owner_alone(path: Path) -> None:
    previous = os.umask(0)
    try:
        add(path, make("one").key)
        add(path, make("two").key)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [key.name for key in read(path).keys] == ["one", "two"]
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_a_key_is_found_by_its_token(path: Path) -> None:
    one, two = make("one"), make("two")
    add(path, one.key)
    add(path, two.key)
    keys = KeyFile(path)
    assert keys.find(two.token, KEY) == two.key
    assert keys.find(session_of(one.token), SESSION) == one.key
    assert keys.find(session_of(one.token), KEY) is None
    assert keys.find(make("three").token, KEY) is None
    assert keys.find("", KEY) is None


def test_keys_change_without_a_restart(path: Path) -> None:
    old = make("old")
    add(path, old.key)
    keys = KeyFile(path)
    new = make("new")
    assert keys.find(new.token, KEY) is None
    add(path, new.key)
    assert keys.find(new.token, KEY) == new.key
    assert keys.find(old.token, KEY) == old.key, "both are good while clients change over"
    remove(path, old.key.id)
    assert keys.find(old.token, KEY) is None
    assert keys.find(new.token, KEY) == new.key


def test_a_key_that_has_ended_is_not_found(path: Path) -> None:
    made = make("one", expires=datetime.now(UTC) - timedelta(seconds=1))
    add(path, made.key)
    assert KeyFile(path).find(made.token, KEY) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"keys": [{"id": "x"}]}', "\ud800"]
)
def test_a_broken_file_leaves_the_last_good_keys(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = make("one")
    add(path, made.key)
    keys = KeyFile(path)
    path.write_bytes(text.encode(errors="surrogatepass"))
    with caplog.at_level(logging.ERROR):
        assert keys.find(made.token, KEY) == made.key
        assert keys.find(made.token, KEY) == made.key
    assert keys.mistake is not None
    assert caplog.text.count("the last good ones") == 1, "said once a change, not once a request"
    write(path, KeyRing())
    assert keys.find(made.token, KEY) is None
    assert keys.mistake is None


def test_a_file_that_goes_away_leaves_the_last_good_keys(path: Path) -> None:
    made = make("one")
    add(path, made.key)
    keys = KeyFile(path)
    path.unlink()
    assert keys.find(made.token, KEY) == made.key
    assert keys.mistake is not None
    assert "there are no keys" in keys.mistake


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    made = make("one")
    add(path, made.key)
    keys = KeyFile(path)
    path.chmod(0o620)
    with pytest.raises(UserError, match="chmod 600"):
        read(path)
    assert keys.find(made.token, KEY) == made.key
    assert keys.mistake is not None
    path.chmod(0o640)  # a secret that Kubernetes mounts may be read by its group
    assert read(path).keys == (made.key,)


def test_two_keys_of_one_id_are_refused(path: Path) -> None:
    text = make("one").key.model_dump_json()
    path.parent.mkdir()
    path.write_text(f'{{"keys": [{text}, {text}]}}')
    with pytest.raises(UserError, match="two keys have one id"):
        read(path)


def test_a_key_that_is_not_there_cannot_be_removed(path: Path) -> None:
    add(path, make("one").key)
    with pytest.raises(UserError, match="there is no key '000000000000'"):
        remove(path, "000000000000")


def test_without_a_file_there_are_no_keys(path: Path) -> None:
    with pytest.raises(UserError, match="`lakesight keys create` makes one"):
        KeyFile(path)


def test_where_keys_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "lakesight" / "keys" / "keys.json"
