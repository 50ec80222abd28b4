"""The cache folder: where it lies, and files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers import cache


def test_the_variable_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`SWEEPER_CACHE` decides alone."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    assert cache.root() == tmp_path


@pytest.mark.parametrize("base", ["", "relative"])
def test_without_it_the_folder_lies_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str
) -> None:
    """`XDG_CACHE_HOME` counts where it is absolute; else `~/.cache`."""
    monkeypatch.delenv("SWEEPER_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "sweeper"
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert cache.root() == tmp_path / ".cache" / "sweeper"


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """The file has the content, and nothing else is left beside it."""
    path = tmp_path / "new" / "file"
    assert cache.write(path, b"one")
    assert cache.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """A file stands where the folder would be: nothing is written, nothing is raised."""
    (tmp_path / "taken").write_bytes(b"")
    assert not cache.write(tmp_path / "taken" / "file", b"one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]
