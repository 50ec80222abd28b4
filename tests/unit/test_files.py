"""Sweeper's writer of files: whole or not at all, and on the disk before it counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

from sweeper import files


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    """A page must have the same bytes on every system."""
    files.write(tmp_path / "page", "a\r\nb\nü")
    assert (tmp_path / "page").read_bytes() == b"a\r\nb\n\xc3\xbc"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def _half_written(path: Path) -> None:
    with files.replacing(path) as new:
        new.write_text("ne")
        raise ValueError("half")


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever a library raises half-way through a table."""
    path = tmp_path / "table"
    files.write(path, "old")
    with pytest.raises(ValueError, match="half"):
        _half_written(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """A real process, killed while it writes."""
    path = tmp_path / "table"
    files.write(path, "old")
    code = (
        "import os, pathlib, signal, sys\nfrom sweeper import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as new:\n"
        "    new.write_text('ne')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=HANG)
    assert ran.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_the_content_is_synced_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the other order, a power failure could leave an empty file under the name."""
    path, seen, sync = tmp_path / "file", [], os.fsync

    def noting(number: int) -> None:
        seen.append(path.exists())
        sync(number)

    monkeypatch.setattr(files.os, "fsync", noting)
    files.write(path, "content")
    assert seen == [False, True]  # the file, then its folder
