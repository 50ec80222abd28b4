"""Finds what a user's word names: a spec file, a database, a sweep, a cluster.

Every error names what can be used instead.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweeper.store.records import Sweep
    from sweeper.store.store import Store

EMPTY = "the database holds no sweep yet"
DEFAULT_STORAGE = "sqlite:///sweeper.db"


def shipped() -> dict[str, Path]:
    """The spec files that come with Sweeper, by name."""
    import search_spaces

    folder = Path(next(iter(search_spaces.__path__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_spec(argument: str) -> Path:
    """Returns the spec file of a path, or of the name of a shipped space.

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
    """The possible specs in a folder, as a user types them."""
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return sorted(str(path) for path in found if path.is_file())


def _meant(path: Path, spaces: Iterable[str]) -> str:
    """The end of a message: the file or shipped space with the nearest name, without endings."""
    files = {Path(file).stem: file for file in specs_in(path.parent)}
    close = get_close_matches(path.stem, [*files, *spaces], n=1)
    return f"; did you mean {files.get(close[0], close[0])!r}?" if close else nearest("", spaces)


def check_storage(url: str) -> str:
    """Returns `url`, if it has the form of a database URL.

    Raises:
        InputError: it is a bare path, empty, or not a URL that Sweeper can read.
    """
    if "://" in url:
        from sweeper.store import dialects

        dialects.parse(url)
        return url
    if not url.strip():
        raise InputError(f"--storage: empty; the default is {DEFAULT_STORAGE}")
    raise InputError(f"--storage: {url!r} is a path, not a database URL; write sqlite:///{url}")


def check_ray(address: str | None, *, allow_open: bool) -> None:
    """Checks that Ray requires a token, and that an address, if given, has a valid form.

    Raises:
        InputError: it does not.
    """
    from sweeper.engine import joining

    joining.check_mode(os.environ, allowed=allow_open)
    if address is not None:
        joining.check_form(address)


def check_not_empty(store: Store) -> list[str]:
    """Returns the names of the sweeps in the database.

    Raises:
        InputError: there are none.
    """
    names = [sweep.name for sweep in store.sweeps()]
    if not names:
        raise InputError(f"{EMPTY}; start one with: sweeper launch SPEC")
    return names


def find_sweep(store: Store, name: str | None) -> Sweep:
    """Returns the sweep of that name; without a name, the only sweep in the database.

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
