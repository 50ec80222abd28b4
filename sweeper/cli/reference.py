"""The reference of the command line, made from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from sweeper.cli.app import app

VALUES = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
HEAD = """# The command line

<!-- Made by `sweeper.cli.reference.markdown()`; edit the commands in sweeper/cli. -->

`sweeper COMMAND --help` shows the same. Results go to standard output, everything else to standard
error. [Exit codes](reliability.md#exit-codes) have the same meaning for every command, and
[settings](settings.md) can stand in files and variables.
"""


def markdown() -> str:
    """Returns the text of docs/cli.md."""
    group: Any = typer.main.get_command(app)
    parts = [HEAD, "## Options of every command\n", _table(group.params)]
    for name in sorted(group.commands):
        parts += _command(group.commands[name], name)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def _command(command: Any, name: str) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = ["sweeper", name, "[OPTIONS]", *(_placeholder(one) for one in arguments)]
    yield f"\n## {name}\n\n```\n{' '.join(words)}\n```\n"
    yield f"{_prose(inspect.cleandoc(command.help or ''))}\n"
    if command.params:
        yield _table(command.params)
    yield f"\n{_example(command.epilog or '')}"


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _prose(text: str) -> str:
    """The help with each paragraph on one line; what looks like a tag is escaped."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text).replace("<", "&lt;")


def _example(epilog: str) -> str:
    found = re.match(r"Example: (sweeper [^(]*[^( ])(?: \((.*)\))?$", epilog)
    if found is None:
        return ""
    rest = f"\n\n{found[2][:1].upper()}{found[2][1:]}." if found[2] else ""
    return f"```sh\n{found[1]}\n```{rest}\n"


def _table(parameters: list[Any]) -> str:
    rows = ["| | value | default | meaning |", "|---|---|---|---|"]
    shown = [one for one in parameters if not getattr(one, "hidden", False)]
    return "\n".join(rows + [_row(one) for one in shown if "--help" not in one.opts]) + "\n"


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    name = _placeholder(parameter) if argument else ", ".join(parameter.opts)
    meaning = (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    if variables := parameter.envvar:
        meaning = f"{meaning.rstrip('.')}. Variable: `{variables}`."
    cells = (f"`{name}`", _value(parameter, argument), _default(parameter), meaning)
    return f"| {' | '.join(cells)} |"


def _value(parameter: Any, argument: bool) -> str:
    if argument or parameter.is_flag:
        return ""
    if parameter.metavar:
        return f"`{parameter.metavar}`"
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    return f"`{VALUES[kind]}`"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.multiple or getattr(parameter, "is_flag", False):
        return ""
    return f"`{parameter.default}`"
