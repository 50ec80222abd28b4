"""Settings that hold for every command, and where each value comes from.

A flag comes before the environment, the environment before the project's file, that file before
the user's own, and all before the default. The project's file is `sweeper.toml` in the working
directory or, without it, the table `[tool.sweeper]` of `pyproject.toml` there. The user's file is
`config.toml` in the folder where the system keeps such files.

Values from files are put into the environment while a command runs: options read their variables,
and so do the parts of Sweeper and `trainers` that know no command line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from sweeper.errors import InputError, nearest
from sweeper.lookup import DEFAULT_STORAGE

PROJECT_FILE = "sweeper.toml"
OFF = ("0", "false", "no", "off")  # values of a variable that switch nothing on
COLOURS = {"never": "NO_COLOR", "always": "FORCE_COLOR"}  # the variable that says so

Kind = Literal["text", "folder", "file", "number", "switch", "colour"]
EXAMPLES: dict[Kind, str] = {
    "text": '"text" in quotes',
    "folder": 'a path in quotes, such as "results"',
    "file": 'a path in quotes, such as "sweeper.log"',
    "number": "a whole number from 0 to 65535",
    "switch": "true or false",
    "colour": '"auto", "always" or "never"',
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting.

    Attributes:
        name: its key in a file.
        variable: the environment variable.
        flag: the option, where there is one.
        default: what holds otherwise, as it is shown.
    """

    name: str
    kind: Kind
    variable: str
    flag: str = ""
    default: str = ""
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Value:
    """The value of a setting, as text, and its source."""

    setting: Setting
    text: str
    source: Literal["flag", "environment", "project file", "user file", "default"]
    place: str = ""  # the flag, the variable or the file


SETTINGS = (
    Setting(
        name="storage",
        kind="text",
        variable="SWEEPER_STORAGE",
        flag="--storage",
        default=DEFAULT_STORAGE,
        meaning="The database: sqlite:///FILE or postgresql://...",
    ),
    Setting(
        name="ray_address",
        kind="text",
        variable="SWEEPER_RAY_ADDRESS",
        flag="--ray-address",
        meaning="An existing Ray cluster; without it, a Ray of its own on this machine.",
    ),
    Setting(
        name="checkpoints",
        kind="folder",
        variable="SWEEPER_CHECKPOINTS",
        meaning="The folder or URL for checkpoints; without it, a folder beside the database.",
    ),
    Setting(
        name="data_root",
        kind="folder",
        variable="SWEEPER_DATA_ROOT",
        meaning="The only folder that data are read from; without it, every folder.",
    ),
    Setting(
        name="cache",
        kind="folder",
        variable="SWEEPER_CACHE",
        meaning="What can be made again: resized images, large data sets, checks, timings.",
    ),
    Setting(
        name="dashboard_host",
        kind="text",
        variable="SWEEPER_DASHBOARD_HOST",
        flag="--host",
        default="127.0.0.1",
        meaning="The loopback address of sweeper dashboard.",
    ),
    Setting(
        name="dashboard_port",
        kind="number",
        variable="SWEEPER_DASHBOARD_PORT",
        flag="--port",
        default="8080",
        meaning="The port of sweeper dashboard.",
    ),
    Setting(
        name="watch_port",
        kind="number",
        variable="SWEEPER_WATCH_PORT",
        flag="--port",
        default="8081",
        meaning="The port of sweeper watch.",
    ),
    Setting(
        name="colour",
        kind="colour",
        variable="NO_COLOR or FORCE_COLOR",
        default="auto",
        meaning="Colours in the output: auto, always or never.",
    ),
    Setting(
        name="log_file",
        kind="file",
        variable="SWEEPER_LOG_FILE",
        flag="--log-file",
        meaning="A file that every command adds its log to.",
    ),
    Setting(
        name="log_format",
        kind="text",
        variable="SWEEPER_LOG_FORMAT",
        flag="--log-format",
        default="text",
        meaning="text, or json for a log of JSON objects, a line each.",
    ),
    Setting(
        name="verbose",
        kind="switch",
        variable="SWEEPER_VERBOSE",
        flag="--verbose",
        default="false",
        meaning="Show the log on stderr too.",
    ),
    Setting(
        name="debug",
        kind="switch",
        variable="SWEEPER_DEBUG",
        default="false",
        meaning="Show the traceback of an internal error.",
    ),
)
NAMES = {setting.name: setting for setting in SETTINGS}


def user_file() -> Path:
    """Returns the user's own file, which need not exist."""
    return Path(typer.get_app_dir("sweeper")) / "config.toml"


def switched_on(name: str, values: Iterable[Value]) -> bool:
    """Returns whether a switch is on."""
    return any(value.setting.name == name and value.text == "true" for value in values)


def chosen(values: Iterable[Value]) -> Iterator[str]:
    """Yields a line for each setting that has another source than the default."""
    for value in values:
        if value.source != "default":
            yield f"{value.setting.name} = {value.text} ({value.source} {value.place})"


def resolve(environment: Mapping[str, str], folder: Path, user: Path) -> list[Value]:
    """Returns each setting's value without flags, in the order of SETTINGS.

    Args:
        environment: variables by name; an empty one counts as unset.
        folder: where the project's file is looked for.
        user: the user's file.

    Raises:
        InputError: a file cannot be read, or has a key or a value that is none of ours.
    """
    project, table = _project(folder)
    in_project, in_user = _checked(table, project), _checked(_toml(user), user)
    return [
        _value(setting, environment, (project, in_project), (user, in_user)) for setting in SETTINGS
    ]


def _value(
    setting: Setting,
    environment: Mapping[str, str],
    project: tuple[Path, Mapping[str, str]],
    user: tuple[Path, Mapping[str, str]],
) -> Value:
    for variable, text in _in_environment(setting, environment):
        return Value(setting=setting, text=text, source="environment", place=variable)
    file, values = project
    if setting.name in values:
        text = values[setting.name]
        return Value(setting=setting, text=text, source="project file", place=str(file))
    file, values = user
    if setting.name in values:
        text = values[setting.name]
        return Value(setting=setting, text=text, source="user file", place=str(file))
    return Value(setting=setting, text=setting.default, source="default")


def _in_environment(setting: Setting, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variable that decides and what it says, where one is set."""
    if setting.kind == "colour":
        said = ((variable, word) for word, variable in COLOURS.items())
        yield from ((name, word) for name, word in said if environment.get(name))
    elif text := environment.get(setting.variable):
        yield setting.variable, _switched(text) if setting.kind == "switch" else text


def _switched(text: str) -> str:
    return "false" if text.lower() in OFF else "true"


@contextmanager
def in_force(*, broken: bool = False) -> Iterator[list[Value]]:
    """Has the settings of files in the environment meanwhile, and gives all values.

    Args:
        broken: a file that cannot be used is passed over.

    Raises:
        InputError: as `resolve`.
    """
    try:
        values = resolve(os.environ, Path(), user_file())
    except InputError:
        if not broken:
            raise
        values = []
    new = dict(
        pair for value in values if value.source.endswith("file") for pair in _exported(value)
    )
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield values
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


def _exported(value: Value) -> Iterator[tuple[str, str]]:
    """The variable that a file's value stands for; none where it says what holds anyway."""
    if value.setting.kind == "colour":
        if value.text in COLOURS:
            yield COLOURS[value.text], "1"
    elif value.setting.kind != "switch":
        yield value.setting.variable, value.text
    elif value.text == "true":
        yield value.setting.variable, "1"


def _project(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The project's file and its settings; `sweeper.toml` comes before `pyproject.toml`."""
    own, shared = folder / PROJECT_FILE, folder / "pyproject.toml"
    if own.exists() or not shared.exists():
        return own, _toml(own)
    table = _toml(shared).get("tool", {}).get("sweeper", {})
    if not isinstance(table, dict):
        raise InputError(f"{shared}: tool.sweeper must be a table: [tool.sweeper]")
    return shared, table


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}") from error


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The settings of a file as text; paths are from the file's own folder.

    Raises:
        InputError: a key is not known, or a value is of another type.
    """
    found: dict[str, str] = {}
    for key, given in table.items():
        if key not in NAMES:
            raise InputError(f"{path}: {key!r} is not known{nearest(key, NAMES)}")
        text = _text(NAMES[key].kind, given)
        if text is None:
            shown = "this table" if isinstance(given, dict) else repr(given)
            raise InputError(f"{path}: {key}: {shown} must be {EXAMPLES[NAMES[key].kind]}")
        found[key] = _placed(text, path) if NAMES[key].kind in ("folder", "file") else text
    return found


def _text(kind: Kind, given: object) -> str | None:
    """The value as the environment would have it, or None where its type is wrong."""
    if kind == "switch":
        return str(given).lower() if isinstance(given, bool) else None
    if kind == "number":
        whole = isinstance(given, int) and not isinstance(given, bool)
        return str(given) if whole and 0 <= int(str(given)) <= 65535 else None
    if not isinstance(given, str) or not given.strip():
        return None
    return given if kind != "colour" or given in ("auto", *COLOURS) else None


def _placed(text: str, path: Path) -> str:
    return text if "://" in text else str((path.parent / Path(text).expanduser()).absolute())
