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


def _filled(folder: Path) -> list[Path]:
    """Files of the cache's own, of each kind, in a folder that is the cache."""
    names = ["images/" + "0" * 64 + ".npy", "images/" + "0" * 64 + ".lock", "images/tmpa_b1.tmp",
             "arithmetic/0123456789abcdef.json"]  # fmt: skip
    for name in names:
        assert cache.write(folder / name, b"12345")
    return [folder / name for name in names]


def test_removing_takes_what_the_cache_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every kind goes, and the folders with it."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    own = _filled(tmp_path)
    assert sorted(entry.path for entry in cache.entries()) == sorted(own)
    assert {entry.size_bytes for entry in cache.entries()} == {5}
    assert cache.remove() == []
    assert list(tmp_path.iterdir()) == []


def test_removing_leaves_whatever_else_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody names the home directory as cache, with a folder `images` in it."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    _filled(tmp_path)
    for name in ("images/holiday.jpg", "images/data.npy", "notes.txt"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "images" / ("1" * 64 + ".npy")).symlink_to(tmp_path / "notes.txt")
    (tmp_path / "images" / ("2" * 64 + ".npy")).mkdir()
    cache.remove()
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == sorted(
        ["1" * 64 + ".npy", "2" * 64 + ".npy", "data.npy", "holiday.jpg", "images", "notes.txt"]
    )


def test_without_a_cache_nothing_lies_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that does not exist is an empty cache."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "nowhere"))
    assert cache.entries() == cache.remove() == []
