"""The cache folder of this machine. Its files can be made again, at the cost of time.

`SWEEPER_CACHE` names the folder. Without it, the folder is `sweeper` in the user's cache folder
(`XDG_CACHE_HOME`, or else `~/.cache`).
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainers import files

IMAGES, DATASETS, ARITHMETIC, TIMINGS = "images", "datasets", "arithmetic", "timings"
# The folder's subfolders, and the names of the files in them. All other files are left alone.
KINDS = {
    IMAGES: ("resized images", re.compile(r"[0-9a-f]{64}\.(npy|lock)|tmp\w+\.tmp")),
    DATASETS: (
        "large data sets",
        re.compile(r"[0-9a-f]{64}\.(json|lock|(x|y|codes)_(train|val|test)\.npy)|tmp\w+\.tmp"),
    ),
    ARITHMETIC: ("checks of arithmetic", re.compile(r"[0-9a-f]{16}\.json|tmp\w+\.tmp")),
    TIMINGS: ("timings of packs", re.compile(r"[0-9a-f]{64}\.json|tmp\w+\.tmp")),
}


@dataclass(frozen=True)
class CacheEntry:
    """A file of the cache."""

    kind: str
    path: Path
    size_bytes: int


def root() -> Path:
    """The folder, which need not exist."""
    chosen = os.environ.get("SWEEPER_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    # The XDG Base Directory Specification asks to ignore a relative XDG_CACHE_HOME.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = Path(os.path.expanduser("~"))  # Path.home() raises if there is no home
    return (base if base.is_absolute() else home / ".cache") / "sweeper"


def write(path: Path, *parts: bytes | memoryview) -> bool:
    """Writes a file whole, and returns whether that worked."""
    return write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> bool:
    """Writes a file whole from parts that are made one by one; returns whether that worked."""
    try:
        files.write_parts(path, parts)
    except OSError:
        return False
    return True


def folder(kind: str) -> Path:
    """A folder of the cache, made if it is missing.

    Raises:
        OSError: it cannot be made.
    """
    path = root() / kind
    path.mkdir(parents=True, exist_ok=True)
    return path


def temporary(kind: str) -> Path:
    """A name that no other file of a folder of the cache has."""
    return root() / kind / files.temporary()


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Lets one process at a time make the file `path`, so that the next process finds it made.

    Where the folder cannot be written or locked, all may work at once, because their results are
    equal.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path.with_suffix(".lock"), "wb"))
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the process ends, however it ends
        yield


def entries() -> list[CacheEntry]:
    """The files in the cache, with their kinds."""
    found = []
    for folder, (kind, names) in KINDS.items():
        with suppress(OSError), os.scandir(root() / folder) as there:
            found += [
                CacheEntry(kind, Path(file.path), file.stat(follow_symlinks=False).st_size)
                for file in there
                if names.fullmatch(file.name) and file.is_file(follow_symlinks=False)
            ]
    return found


def remove() -> list[CacheEntry]:
    """Removes the files in the cache, and returns those that could not be removed."""
    left = []
    for entry in entries():
        try:
            entry.path.unlink(missing_ok=True)
        except OSError:
            left.append(entry)
    for folder in KINDS:
        with suppress(OSError):  # only folders of the cache's own names, and only when empty
            (root() / folder).rmdir()
    return left
