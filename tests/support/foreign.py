"""A folder in which `sweeper import` runs, and what the database then holds, read by sqlite3."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sweeper.cli.app import run

Write: TypeAlias = Callable[[str, str], str]


@dataclass(frozen=True)
class Imports:
    """A working folder with the command in it."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[int, str, str]:
        """The exit code, what is printed, and the messages."""
        code = run(list(words))
        out, err = self.capture.readouterr()
        return code, out, err

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of the database, without any code of Sweeper's."""
        connection = sqlite3.connect(self.folder / "sweeper.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    @property
    def stored(self) -> bool:
        return (self.folder / "sweeper.db").exists()

    def page(self, name: str) -> str:
        """The report of a sweep, which `sweeper verify` has accepted."""
        out = self.folder / "page.html"
        assert self.run("report", name, "--out", str(out))[0] == 0
        assert self.run("verify", str(out))[0] == 0
        return out.read_text("utf-8")
