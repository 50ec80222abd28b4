"""`sweeper cache`: what is kept on this machine, and its removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.cli.app import run
from trainers import cache


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache with one set of resized images of 3 MiB."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "kept"))
    path = cache.root() / cache.IMAGES / ("a" * 64 + ".npy")
    assert cache.write(path, bytes(3 << 20))
    return path


def test_the_cache_is_shown_with_its_size(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder, what lies there, and how to remove or move it; nothing is removed."""
    assert run(["cache"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == str(cache.root())
    assert shown.out.splitlines()[2].split() == ["resized", "images", "1", "3.0", "MiB"]
    assert shown.err == "sweeper cache --remove removes it; SWEEPER_CACHE moves it\n"
    assert kept.exists()


def test_remove_empties_the_cache(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was there is shown once more, and then gone; again is no error."""
    for held in ([{"kind": "resized images", "files": 1, "bytes": 3 << 20}], []):
        assert run(["cache", "--remove", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["held"], found["removed"]) == (held, True)
        assert not kept.exists()


def test_what_cannot_be_removed_is_named(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and the file's name; nothing says that it was removed."""

    def forbidden(self: Path, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", forbidden)
    assert run(["cache", "--remove"]) == 2
    assert capsys.readouterr().err == f"sweeper: {kept}: cannot be removed\n"
