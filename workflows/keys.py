"""`lakesight keys create NAME`, `lakesight keys list`, `lakesight keys revoke ID`."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import CliPositionalArg, CliSubCommand, get_subcommand

from lakesight.errors import UserError, first_mistake
from lakesight.models.base import Frozen
from lakesight.online import key_file
from lakesight.online.keys import ANY, Key, Rate, Scopes, make, parse_expiry
from workflows import tables

SHOWN = ["id", "name", "models", "indexes", "s3", "metrics", "rate", "created", "ends"]
"""The columns of the list."""


class Create(Frozen):
    """Make an API key, and show it once.

    A server that is running takes it at once. To change a key for another: create the new one,
    give it to whoever asks, revoke the old one; both are good meanwhile.

    Examples:
      lakesight keys create phone-app --model yolo --rate 5 --expires 90d
      lakesight keys create nightly --s3 s3://lake/incoming/
      lakesight keys create prometheus --metrics
    """

    name: CliPositionalArg[str]
    """What the key is for."""
    model: tuple[str, ...] = ()
    """A model it may use, by its name there; repeatable. All unless given."""
    index: tuple[str, ...] = ()
    """An index it may search, by its name there; repeatable. All unless given."""
    s3: tuple[str, ...] = ()
    """An s3:// prefix it may name pictures from, where the server allows it too; repeatable. None
    unless given."""
    metrics: bool = False
    """Let it read /metrics, which tells of everybody's requests; and nothing else, unless --model,
    --index or --s3 is given too."""
    expires: str | None = None
    """When it ends: 12h, 30d, 8w, or a time such as 2030-01-31T00:00Z. Never unless given."""
    rate: float | None = Field(default=None, gt=0, le=1e6)
    """Requests a second, on average; each further picture of a request counts as one. Any unless
    given."""
    burst: int | None = Field(default=None, ge=1, le=1_000_000)
    """Requests at once after a pause; two seconds' worth unless given."""
    keys: Path | None = None
    """The file of keys; ~/.config/lakesight/keys/keys.json unless given."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object."""

    def run(self) -> int:
        """Make the key and print it; return 0."""
        path = self.keys or key_file.default_path()
        expires = parse_expiry(self.expires, datetime.now(UTC)) if self.expires else None
        try:
            made = make(self.name, self._scopes(), expires=expires, rate=self._rate())
        except ValidationError as error:
            raise UserError(first_mistake(error)) from None
        key_file.add(path, made.key)
        if self.json_output:
            print(json.dumps({"id": made.key.id, "key": made.token, "keys": str(path)}))
            return 0
        print(made.token)
        print(f"key {made.key.id} is in {path}, as its hash: note it now", file=sys.stderr)
        return 0

    def _scopes(self) -> Scopes:
        """Return what it may use: all that is not narrowed, but for a key of metrics alone."""
        rest = () if self.metrics else (ANY,)
        return Scopes(
            models=self.model or rest,
            indexes=self.index or rest,
            s3=self.s3,
            metrics=self.metrics,
        )

    def _rate(self) -> Rate | None:
        if self.rate is None:
            if self.burst is not None:
                raise UserError("--burst says how much of a --rate may come at once: give --rate")
            return None
        return Rate(per_s=self.rate, burst=self.burst or max(1, round(2 * self.rate)))


class List(Frozen):
    """List the API keys: what each is for, what it may use, when it ends. Never the keys.

    Example:
      lakesight keys list --json
    """

    keys: Path | None = None
    """The file of keys; ~/.config/lakesight/keys/keys.json unless given."""
    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object a key."""

    def run(self) -> int:
        """Print the table; return 0."""
        rows = [_row(key) for key in key_file.read(self.keys or key_file.default_path()).keys]
        if self.json_output:
            tables.write_json_lines(rows, sys.stdout)
            return 0
        shown = [_in_words(row) for row in rows]
        tables.write_aligned(shown, SHOWN, sys.stdout)
        return 0


class Revoke(Frozen):
    """Take an API key back: a server that is running refuses it from the next request on.

    Example:
      lakesight keys revoke 0f3a9c41d2b7
    """

    id: CliPositionalArg[str]
    """The key's id, as `lakesight keys list` shows it."""
    keys: Path | None = None
    """The file of keys; ~/.config/lakesight/keys/keys.json unless given."""

    def run(self) -> int:
        """Remove the key; return 0."""
        key = key_file.remove(self.keys or key_file.default_path(), self.id)
        print(f"revoked {key.id} ({key.name})")
        return 0


class Keys(Frozen):
    """Make, list and revoke the API keys of `lakesight serve`.

    Examples:
      lakesight keys create phone-app --model yolo --rate 5 --expires 90d
      lakesight keys list
      lakesight keys revoke 0f3a9c41d2b7
    """

    create: CliSubCommand[Create]
    list: CliSubCommand[List]
    revoke: CliSubCommand[Revoke]

    def run(self) -> int:
        """Run the chosen command, or list; return its exit code."""
        command = get_subcommand(self, is_required=False) or List()
        code: int = command.run()  # type: ignore[union-attr]  # every field's class has it
        return code


def _in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: " ".join(row[name]) for name in ("models", "indexes", "s3")}
    return {**row, **lists, "metrics": "yes" if row["metrics"] else "no"}


def _row(key: Key) -> dict[str, Any]:
    """Return what the list says of one key."""
    is_over = key.is_over(datetime.now(UTC))
    return {
        "id": key.id,
        "name": key.name,
        "models": key.scopes.models,
        "indexes": key.scopes.indexes,
        "s3": key.scopes.s3,
        "metrics": key.scopes.metrics,
        "rate": f"{key.rate.per_s:g}/s, {key.rate.burst} at once" if key.rate else "any",
        "created": key.created.isoformat(),
        "ends": "over" if is_over else key.expires.isoformat() if key.expires else "never",
    }
