"""Writes a file whole: a reader finds the old content or the new, never a part of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, *parts: bytes | memoryview) -> None:
    """Writes the parts, one after another, as the new content of `path`, and syncs it to disk.

    Several processes may write the same file: the last one wins.

    Raises:
        OSError: the file cannot be written; the old content stays.
    """
    write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """As `write`, from parts that are made one by one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(temporary())
    try:
        _write(own, parts)
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)
    _sync_folder(path.parent)


def temporary() -> str:
    """A new name of a file that is about to be written."""
    return f"tmp{secrets.token_hex(8)}.tmp"


def _write(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        # Without it, a power failure may leave the new name with no content.
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
