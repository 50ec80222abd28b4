"""Identifies the trainer: its version, and a hash of its source. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from trainers import VERSION

DIGITS = 12
SOURCES = (".py", ".cpp", ".hpp")


def version() -> str:
    """The version of the trainer's numerics."""
    return VERSION


def source(folder: Path = Path(__file__).parent) -> str:
    """A hash of all source files in a folder: equal for equal names and contents."""
    digest = hashlib.sha256()
    for name, path in sorted(_files(folder)):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:DIGITS]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    paths = (path for suffix in SOURCES for path in folder.rglob(f"*{suffix}"))
    return ((path.relative_to(folder).as_posix(), path) for path in paths)
