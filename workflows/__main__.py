"""The command line: `lakesight COMMAND …`, the same as `python -m workflows COMMAND …`."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, create_model
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
from lakesight.models.base import Frozen

COMMANDS = {
    "demo": "workflows.demo:Demo",
    "annotate": "workflows.annotate:Annotate",
    "detect": "workflows.annotate:Detect",
    "caption": "workflows.annotate:Caption",
    "embed": "workflows.annotate:Embed",
    "index": "workflows.index:Index",
    "search": "workflows.search:Search",
    "serve": "workflows.serve:Serve",
    "sql": "workflows.sql:Sql",
    "report": "workflows.report:Report",
    "models": "workflows.models:Models",
    "scenes": "workflows.scenes:Scenes",
    "train": "workflows.train:Train",
    "tune": "workflows.tune:Tune",
    "export": "workflows.export:Export",
    "benchmark": "workflows.benchmark:Benchmark",
    "evaluate": "workflows.evaluate:Evaluate",
    "keys": "workflows.keys:Keys",
    "ingress": "workflows.node_ingress:NodeIngress",
    "doctor": "workflows.doctor:Doctor",
}
"""Command to `module:class`, imported only when it is the one that was given, or for `--help`."""

BY_TASK = {"train": "workflows.train:command_of"}
"""Commands with other settings for some values of `--task`, to `module:function` of that."""


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
        cli_parse_none_str="null",  # as YAML and `--set` have it
        use_attribute_docstrings=True,
    )


def with_commands(commands: Mapping[str, type[Frozen]]) -> type[Lakesight]:
    """Return the command line with these commands."""
    fields: dict[str, Any] = {
        name: (
            CliSubCommand[command],  # type: ignore[misc,valid-type]
            Field(description=(command.__doc__ or "").splitlines()[0]),
        )
        for name, command in commands.items()
    }
    return create_model("Lakesight", __base__=Lakesight, __doc__=Lakesight.__doc__, **fields)


def load(name: str, words: Sequence[str] = ()) -> type[Frozen]:
    """Return the class of a command, which may depend on the `--task` that follows it."""
    task = next((value for flag, value in _pairs(words) if flag == "--task"), None)
    by_task = BY_TASK.get(name) if task else None
    module, _, attribute = (by_task or COMMANDS[name]).partition(":")
    found = getattr(importlib.import_module(module), attribute)
    command: type[Frozen] = found(task) if by_task else found
    return command


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every flag with what follows it, after a space or a `=`."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, has_value, value = word.partition("=")
        yield flag, value if has_value else following


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 promise kept, 1 not kept, 2 a mistake to mend."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    names = words[:1] if words[0] in COMMANDS else COMMANDS
    try:
        commands = {name: load(name, words) for name in names}
    except UserError as error:
        return _mistake(str(error))
    settings = with_commands(commands)
    formatter = argparse.RawDescriptionHelpFormatter
    try:
        source = CliSettingsSource[argparse.ArgumentParser](settings, formatter_class=formatter)
        hidden, values = _hidden(words, commands.values())
        root = CliApp.run(settings, cli_args=hidden, cli_settings_source=source)
    except SettingsError as error:
        return _mistake(str(error))
    except ValidationError as error:
        return _mistake(_sentence(error))
    try:
        command = get_subcommand(root)
        assert isinstance(command, Frozen)
        code: int = _shown(command, values).run()  # type: ignore[attr-defined]  # each has it
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


def _hidden(words: Sequence[str], commands: Iterable[type[Frozen]]) -> tuple[list[str], list[str]]:
    """Return the words with each value of a repeatable flag as its number, and those values.

    pydantic-settings would split them at commas, and has no way to write a quote or an ö in them.
    """
    flags = {f"--{name.replace('_', '-')}" for command in commands for name in _repeatable(command)}
    shown: list[str] = []
    values: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        flag, has_value, value = word.partition("=")
        if before in flags:
            shown.append(str(len(values)))
            values.append(word)
        elif has_value and flag in flags:
            shown.append(f"{flag}={len(values)}")
            values.append(value)
        else:
            shown.append(word)
    return shown, values


def _shown(command: Frozen, values: Sequence[str]) -> Frozen:
    """Return a command with the values that `_hidden` took."""
    given = [name for name in _repeatable(type(command)) if name in command.model_fields_set]
    texts = {
        name: tuple(values[int(number)] for number in getattr(command, name)) for name in given
    }
    return command.model_copy(update=texts)


def _repeatable(command: type[Frozen]) -> list[str]:
    fields = command.model_fields
    return [name for name in fields if fields[name].annotation == tuple[str, ...]]


def _sentence(error: ValidationError) -> str:
    """Return the first mistake in one line, by the name of its flag."""
    first = error.errors()[0]
    words = [str(part).replace("_", "-") for part in first["loc"][1:]]
    return f"--{'.'.join(words)}: {first['msg']} (got {first['input']!r}); see --help"


if __name__ == "__main__":
    sys.exit(main())
