"""Sweeper's cache folder on this machine: what lies there can be made again, and only costs time.

`SWEEPER_CACHE` names the folder; without it, `sweeper` in the user's cache folder
(`XDG_CACHE_HOME`, else `~/.cache`).
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

IMAGES, ARITHMETIC = "images", "arithmetic"
# What lies in the folder: folders, and the names that files in them are given here. Others stay.
KINDS = {
    IMAGES: ("resized images", re.compile(r"[0-9a-f]{64}\.(npy|lock)|tmp\w+\.tmp")),
    ARITHMETIC: ("checks of arithmetic", re.compile(r"[0-9a-f]{16}\.json|tmp\w+\.tmp")),
}


@dataclass(frozen=True)
class Entry:
    """One file of the cache."""

    kind: str
    path: Path
    size_bytes: int


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


def entries() -> list[Entry]:
    """The files that lie in the cache, by their kinds."""
    found = []
    for folder, (kind, names) in KINDS.items():
        with suppress(OSError), os.scandir(root() / folder) as files:
            found += [
                Entry(kind, Path(file.path), file.stat(follow_symlinks=False).st_size)
                for file in files
                if names.fullmatch(file.name) and file.is_file(follow_symlinks=False)
            ]
    return found


def remove() -> list[Entry]:
    """Removes the files that lie in the cache, and returns those that could not be removed."""
    left = []
    for entry in entries():
        try:
            entry.path.unlink(missing_ok=True)
        except OSError:
            left.append(entry)
    for folder in KINDS:
        with suppress(OSError):  # of its own name, and empty
            (root() / folder).rmdir()
    return left
