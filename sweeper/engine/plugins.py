"""Runs the user's Python files, named on the command line, first in driver and workers.

This is the only way in which code outside the installed packages is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sweeper.errors import InputError
from trainers.plugins import run


def load(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Runs each file once in this process; returns their absolute paths, for the workers.

    Raises:
        InputError: a file is missing, or raises or exits while it runs.
    """
    return tuple(_load(Path(path)) for path in paths)


def _load(path: Path) -> str:
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"--plugin {path}: no such Python file")
    try:
        run(path)
    except (Exception, SystemExit) as error:  # an exit would end the launch as a success
        raise InputError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    return str(path.resolve())
