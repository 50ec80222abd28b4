"""A table of runs that others made, whatever file or folder it was read from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sweeper.errors import InputError
from sweeper.importing.columns import Columns


@dataclass(frozen=True)
class Source:
    """A table: one row a run, or one row an epoch of a run.

    Attributes:
        kind: the format in words, for messages and for the page.
        name: the file or folder, without the folders above it.
        frame: the table; its index is 0, 1, 2 ...
        where: the place of a row in words, by its index: `line 17`.
        known: the columns whose role the format itself defines.
        digest: a hash of what was read.
        direction: which way the first metric is better, as far as the format has it.
        search: how the settings were chosen, as far as the format has it.
        remarks: what a reader of the report must know about the format.
    """

    kind: str
    name: str
    frame: pd.DataFrame
    where: Callable[[int], str]
    digest: str
    known: Columns = field(default_factory=Columns)
    direction: str = ""
    search: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def sweep(self) -> str:
        """A name for the sweep, by that of what is read."""
        stem = re.sub(r"[^A-Za-z0-9 ._-]+", "-", Path(self.name).stem).strip("-. _")
        return re.sub(r"\.{2,}", ".", stem)[:80] or "imported"

    def problem(self, text: str, *, row: int | None = None) -> InputError:
        """The error of the whole table, or of a row by its index."""
        place = "" if row is None else f"{self.where(row)}: "
        return InputError(f"{self.name}: {place}{text}")


def digest_of(files: Mapping[str, Path]) -> str:
    """A hash of the files' names and contents."""
    whole = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            part = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name}\0{part}\0".encode())
    return whole.hexdigest()
