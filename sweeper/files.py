"""Writes a file whole: a reader finds the old content or the new, never a part of it.

`trainers.files` does the same for the trainer, which imports nothing of this package.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a new path beside `path` to write to, then syncs that file and renames it to `path`.

    If the block raises, the old file stays and the new one is removed.

    Raises:
        OSError: the file cannot be synced or renamed.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write(path: Path, content: str) -> None:
    """Writes text, as UTF-8 without changing its line ends, as the new content of `path`.

    Raises:
        OSError: the file cannot be written; the old content stays.
    """
    with replacing(path) as temporary, temporary.open("x", encoding="utf-8", newline="") as file:
        file.write(content)


def _sync(path: Path) -> None:
    """Moves a file or a folder's list of files from the system's memory to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
