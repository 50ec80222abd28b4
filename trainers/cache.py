"""Sweeper's cache folder on this machine: what lies there can be made again, and only costs time.

`SWEEPER_CACHE` names the folder; without it, `sweeper` in the user's cache folder
(`XDG_CACHE_HOME`, else `~/.cache`).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

IMAGES = "images"  # the folder of images that were resized


def root() -> Path:
    """The folder, which need not exist."""
    chosen = os.environ.get("SWEEPER_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    # A relative XDG_CACHE_HOME is invalid and to be ignored (XDG Base Directory Specification).
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.path.expanduser("~"))  # Path.home() raises where there is none
    return (base if base.is_absolute() else home / ".cache") / "sweeper"


def write(path: Path, *content: bytes | memoryview) -> bool:
    """Writes a file whole or not at all, its parts one after another, and returns if it is there.

    Several processes may write one file: the last one wins, and no reader sees a part of it.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with open(number, "wb") as file:
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(number)  # else a machine that loses power may keep the name of an empty file
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        return False
    return True


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Lets one process at a time make the file `path`, so that the next one finds it made.

    Where the folder cannot be written or locked, all may go on at once: what they make is equal.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path.with_suffix(".lock"), "wb"))
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, whatever ends that
        yield
