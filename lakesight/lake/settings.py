"""The settings of an output: `_commits/00000.json`, written by whoever is first."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

FORMAT = 1
MAX_SHOWN = 80
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Settings:
    """What every row of an output was made with, and the schema of its rows."""

    values: Mapping[str, Any]
    schema: pa.Schema | None

    @classmethod
    def from_bytes(cls, data: bytes) -> "Settings":
        """Read what `to_bytes` wrote."""
        stored = json.loads(data)
        encoded = stored["schema"]
        schema = encoded and pa.ipc.read_schema(pa.py_buffer(base64.b64decode(encoded)))
        return cls(stored["settings"], schema)

    def to_bytes(self) -> bytes:
        """Return JSON; the schema is Arrow's own encoding, in base64."""
        schema = self.schema and base64.b64encode(self.schema.serialize()).decode()
        stored = {"format": FORMAT, "settings": dict(self.values), "schema": schema}
        return json.dumps(stored, indent=1, sort_keys=True).encode()


Essence = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What of an output's settings decides the values of its rows; the rest may be reworded."""


def differences(found: Settings, wanted: Settings, essence: Essence = dict) -> list[str]:
    """Return one phrase for each setting that decides values and is not the same in both."""
    normal = Settings.from_bytes(wanted.to_bytes())
    changes = list(_differences("", essence(found.values), essence(normal.values)))
    if not changes and found.schema != normal.schema:
        changes.append("the schema of its rows")
    return changes


def _differences(path: str, found: Any, wanted: Any) -> Iterator[str]:
    """Descend to the innermost values that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = f"{path}.{key}" if path else key
            if key not in found or key not in wanted:
                yield f"{inner} is only {'there' if key in found else 'here'}"
            else:
                yield from _differences(inner, found[key], wanted[key])
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for index, (before, after) in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(f"{path}[{index}]", before, after)
    elif found != wanted:
        yield f"{path} is {_short(found)} there, and {_short(wanted)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"
