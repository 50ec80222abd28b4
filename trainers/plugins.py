"""Runs the user's Python files, which register networks, data or forms. No torch."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path


class _Loader(SourceFileLoader):
    """Runs a file without leaving compiled code in its folder."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        del path, data, _mode


def run(path: Path) -> None:
    """Runs a file in this process, unless it has run before.

    Raises:
        FileNotFoundError: it is not a Python file.
        Exception, SystemExit: what the file raises.
    """
    where = str(path.resolve())
    name = f"sweeper_plugin_{hashlib.sha256(where.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, where, loader=_Loader(name, where))
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(where)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
