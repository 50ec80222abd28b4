"""Sweeper's cache folder on this machine: what lies there can be made again, and only costs time.

`SWEEPER_CACHE` names the folder; without it, `sweeper` in the user's cache folder
(`XDG_CACHE_HOME`, else `~/.cache`).
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def root() -> Path:
    """The folder, which need not exist."""
    chosen = os.environ.get("SWEEPER_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    # A relative XDG_CACHE_HOME is invalid and to be ignored (XDG Base Directory Specification).
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.path.expanduser("~"))  # Path.home() raises where there is none
    return (base if base.is_absolute() else home / ".cache") / "sweeper"


def write(path: Path, content: bytes) -> bool:
    """Writes a file whole or not at all, and returns whether it is there.

    Several processes may write one file: the last one wins, and no reader sees a part of it.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with open(number, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        return False
    return True
