"""The trainer's writer of files: whole or not at all, and on the disk before it counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainers import files


def test_the_parts_replace_the_old_content(tmp_path: Path) -> None:
    """Parts follow each other, and missing folders are made."""
    path = tmp_path / "new" / "file"
    files.write(path, b"old")
    files.write(path, b"a", memoryview(b"bc"))
    assert path.read_bytes() == b"abc"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write removes its own file and reports the error."""
    path = tmp_path / "file"
    files.write(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_content_is_synced_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the other order, a power failure could leave an empty file under the name."""
    path, seen, sync = tmp_path / "file", [], os.fsync

    def noting(number: int) -> None:
        seen.append(path.exists())
        sync(number)

    monkeypatch.setattr(files.os, "fsync", noting)
    files.write(path, b"content")
    assert seen == [False, True]  # the file, then its folder
