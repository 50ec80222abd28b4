"""Finds what a path or an address is, and reads it; the doors of the command and of Python."""

from __future__ import annotations

import re
from pathlib import Path

from sweeper.errors import InputError
from sweeper.importing import tables
from sweeper.importing.source import Source

FORMATS = "a table (.csv, .tsv, .jsonl, .json, .parquet)"


def source_of(what: str) -> Source:
    """The table of runs behind a path.

    Raises:
        InputError: it is not there, of no known format, or cannot be read.
    """
    path = Path(what)
    if not path.exists():
        raise InputError(f"{what}: no such file or folder")
    if path.is_file() and path.suffix.lower() in tables.KINDS:
        return tables.read(path)
    raise InputError(f"{what}: is of no format that can be imported; valid: {FORMATS}")


def name_of(what: str) -> str:
    """A name for the sweep, from the name of what is read."""
    stem = re.sub(r"[^A-Za-z0-9 ._-]+", "-", Path(what.rstrip("/")).stem).strip("-. _")
    return stem[:80] or "imported"
