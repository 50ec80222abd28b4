"""A working folder for each import."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from foreign import Imports, Write


@pytest.fixture
def imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Imports:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("SWEEPER_")]:
        if name != "SWEEPER_DATA":
            monkeypatch.delenv(name)
    return Imports(tmp_path, capsys)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file in the working folder and returns its name."""

    def written(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, "utf-8")
        return name

    return written
