"""What the user typed, turned into what the parts take; every refusal names the way out."""

from __future__ import annotations

import json
import os
import re
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sweeper.store.records import Sweep
    from sweeper.store.store import Store

EMPTY = "the database holds no sweep yet"
DEFAULT_STORAGE = "sqlite:///sweeper.db"
ENVIRONMENT = (
    "SWEEPER_CACHE",
    "SWEEPER_CHECKPOINTS",
    "SWEEPER_DATA",
    "SWEEPER_DATA_ROOT",
    "SWEEPER_DEBUG",
    "SWEEPER_RAY_ADDRESS",
    "SWEEPER_STORAGE",
)

_PASSWORD = re.compile(r"[^/]+://([^/@]*:[^/@]+@|.*[?&]\w*password=)", re.IGNORECASE)


def shipped() -> dict[str, Path]:
    """The spec files that come with Sweeper, by name."""
    import search_spaces

    folder = Path(next(iter(search_spaces.__path__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_spec(argument: str) -> Path:
    """The spec file that a path, or the name of a shipped space, stands for.

    Raises:
        InputError: it is neither.
    """
    path = Path(argument)
    if path.exists():
        return path
    spaces = shipped()
    if argument in spaces:
        return spaces[argument]
    raise InputError(
        f"{argument!r}: no such file, and no shipped space of that name" + _meant(path, spaces)
    )


def specs_in(folder: Path) -> list[str]:
    """The files in a folder that may be specs, as one types them."""
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return sorted(str(path) for path in found if path.is_file())


def _meant(path: Path, spaces: Iterable[str]) -> str:
    """A tail for a message: the file or shipped space with the nearest name, endings apart."""
    files = {Path(file).stem: file for file in specs_in(path.parent)}
    close = get_close_matches(path.stem, [*files, *spaces], n=1)
    return f"; did you mean {files.get(close[0], close[0])!r}?" if close else nearest("", spaces)


def check_storage(url: str) -> str:
    """`url`, if it has the form of a database URL.

    Raises:
        InputError: it is a bare path, or nothing, or no URL that Sweeper can read.
    """
    if "://" in url:
        from sweeper.store import dialects

        dialects.parse(url)
        return url
    if not url.strip():
        raise InputError(f"--storage: empty; the default is {DEFAULT_STORAGE}")
    raise InputError(f"--storage: {url!r} is a path, not a database URL; write sqlite:///{url}")


def check_ray(address: str | None, *, allow_open: bool) -> None:
    """Whether Ray asks for a token, and whether an address, where there is one, has a form for it.

    Raises:
        InputError: one of the two does not hold.
    """
    from sweeper.engine import joining

    joining.check_mode(os.environ, allowed=allow_open)
    if address is not None:
        joining.check_form(address)


def password_in(arguments: list[str]) -> bool:
    """Whether a database password stands on the command line, where `ps` shows it to everyone."""
    return any(_PASSWORD.match(word.removeprefix("--storage=")) for word in arguments)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """One remark for each SWEEPER_* variable that Sweeper does not read: likely a misspelling."""
    return [
        f"{name} is set, but Sweeper does not read it{nearest(name, ENVIRONMENT)}"
        for name in sorted(environment)
        if name.startswith("SWEEPER_") and name not in ENVIRONMENT
    ]


def one_of(option: str, word: str, valid: Iterable[str]) -> str:
    """`word`, if it is valid.

    Raises:
        InputError: it is not; the nearest valid one is named.
    """
    choices = [str(choice) for choice in valid]
    if word not in choices:
        raise InputError(f"{option}: {word!r} is not known{nearest(word, choices)}")
    return word


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` words as a dictionary.

    Raises:
        InputError: one has another form, or a key comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (key and equals and value):
            raise InputError(f"{option}: {word!r} must be KEY=VALUE, such as train.batch_size=8")
        if key in found:
            raise InputError(f"{option}: {key} is named twice")
        found[key] = value
    return found


def next_commands(sweep: str, storage: str) -> list[str]:
    """What one does with a sweep that has ended; the database is named where it must be."""
    where = ""
    if storage != os.environ.get("SWEEPER_STORAGE", DEFAULT_STORAGE):
        where = f" --storage {shlex.quote(storage)}" if not password_in([storage]) else ""
    name = shlex.quote(sweep)
    return [
        f"report:    sweeper report {name}{where}",
        f"dashboard: sweeper dashboard{where}",
    ]


def check_not_empty(store: Store) -> list[str]:
    """The names of the sweeps in the database.

    Raises:
        InputError: there is none.
    """
    names = [sweep.name for sweep in store.sweeps()]
    if not names:
        raise InputError(f"{EMPTY}; start one with: sweeper launch SPEC")
    return names


def find_sweep(store: Store, name: str | None) -> Sweep:
    """The sweep of that name; without a name, the only one in the database.

    Raises:
        InputError: there is none, or several and no name.
    """
    names = check_not_empty(store)
    if name is None and len(names) > 1:
        raise InputError(f"the database holds {len(names)} sweeps; name one: {', '.join(names)}")
    sweep = store.sweep(name if name is not None else names[0])
    if sweep is None:
        raise InputError(f"no sweep named {name!r} in this database{nearest(str(name), names)}")
    return sweep


def renamed(text: str, name: str) -> str:
    """A spec's text with another `name:`, its comments untouched."""
    return re.sub(r"(?m)^name:.*$", lambda _: f"name: {json.dumps(name)}", text, count=1)
