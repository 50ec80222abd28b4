"""Runs the user's Python files, named on the command line, first in driver and workers.

This is the only way in which code outside the installed packages is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from sweeper.errors import InputError


def load(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Runs each file once in this process; returns their absolute paths, for the workers.

    Raises:
        InputError: a file is missing, or raises or exits while it runs.
    """
    return tuple(_load(Path(path)) for path in paths)


def _load(path: Path) -> str:
    where = str(path.resolve())
    name = f"sweeper_plugin_{hashlib.sha256(where.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return where
    spec = importlib.util.spec_from_file_location(name, where)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"--plugin {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # an exit would end the launch as a success
        del sys.modules[name]
        raise InputError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    return where
