"""The command line: `lakesight COMMAND …`, the same as `python -m workflows COMMAND …`."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    CliSubCommand,
    SettingsConfigDict,
    SettingsError,
    get_subcommand,
)

from lakesight.errors import UserError
from lakesight.lake.store import StoreError
from workflows.annotate import Annotate, Caption, Detect, Embed
from workflows.demo import Demo
from workflows.doctor import Doctor
from workflows.index import Index
from workflows.models import Models
from workflows.report import Report
from workflows.search import Search
from workflows.sql import Sql

REPEATABLE = {
    f"--{name.replace('_', '-')}"
    for name, field in Annotate.model_fields.items()
    if field.annotation == tuple[str, ...]
}
"""Flags that may be given several times."""


class Lakesight(BaseSettings):
    """Look at every picture in a lake and write down what was seen.

    Start with:
      lakesight doctor        what this machine can run
      lakesight annotate -h   detections, classes, captions and embeddings as Parquet
    """

    model_config = SettingsConfigDict(
        cli_prog_name="lakesight",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        use_attribute_docstrings=True,
    )

    demo: CliSubCommand[Demo]
    annotate: CliSubCommand[Annotate]
    detect: CliSubCommand[Detect]
    caption: CliSubCommand[Caption]
    embed: CliSubCommand[Embed]
    index: CliSubCommand[Index]
    search: CliSubCommand[Search]
    sql: CliSubCommand[Sql]
    report: CliSubCommand[Report]
    models: CliSubCommand[Models]
    doctor: CliSubCommand[Doctor]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 promise kept, 1 not kept, 2 a mistake to mend."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    formatter = argparse.RawDescriptionHelpFormatter
    try:
        source = CliSettingsSource[argparse.ArgumentParser](Lakesight, formatter_class=formatter)
        root = CliApp.run(Lakesight, cli_args=_quoted(words), cli_settings_source=source)
    except SettingsError as error:
        return _mistake(str(error))
    except ValidationError as error:
        return _mistake(_sentence(error))
    try:
        code: int = get_subcommand(root).run()  # type: ignore[union-attr]
    except UserError as error:
        return _mistake(str(error))
    except StoreError as error:
        print(f"lakesight: {error}; what is committed stays, run it again", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `lakesight sql … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("lakesight: interrupted; what is committed stays, run it again", file=sys.stderr)
        return 130
    return code


def _mistake(sentence: str) -> int:
    print(f"lakesight: {sentence}", file=sys.stderr)
    return 2


def _quoted(words: Sequence[str]) -> list[str]:
    """Return the words with the values of repeatable flags as JSON: a comma would split them."""
    return [
        json.dumps(word) if before in REPEATABLE else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def _sentence(error: ValidationError) -> str:
    """Return the first mistake in one line, by the name of its flag."""
    first = error.errors()[0]
    words = [str(part).replace("_", "-") for part in first["loc"][1:]]
    return f"--{'.'.join(words)}: {first['msg']} (got {first['input']!r}); see --help"


if __name__ == "__main__":
    sys.exit(main())
