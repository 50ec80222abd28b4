"""`sweeper doctor` reports what prevents a sweep, and how to mend it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper.cli.doctor import disk, executor, home, plugin, ray_folder, shared_memory
from sweeper.engine import sockets
from trainers import catalogue
from trainers.compiled import build

READ_ONLY = "/proc"  # where root can make no file either


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    """Sets how many bytes are free on every disk."""

    def be(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(count)))

    return be


def test_a_folder_for_sockets_that_was_named_and_cannot_be_used_is_told() -> None:
    """This is a note and no fault, since another folder is used; the line has the reason."""
    found = ray_folder({"TMPDIR": "/tmp/" + "x" * 100})  # noqa: S108
    assert (found.state, found.text.split(";")[0]) == ("note", "/tmp")  # noqa: S108
    assert "TMPDIR cannot be used: its path has 105 bytes" in found.text
    assert ray_folder({}).state == "ok"


def test_no_folder_for_sockets_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch would end with 2 and the same words."""
    monkeypatch.setattr(sockets, "OTHERS", (READ_ONLY,))
    found = ray_folder({"TMPDIR": "/nonexistent"})
    assert found.state == "wrong"
    assert "set TMPDIR to a shorter path that you can write" in found.text
    assert "TMPDIR (/nonexistent): cannot be written (No such file or directory)" in found.text


def test_shared_memory_that_is_small_or_read_only_is_told(tmp_path: Path, free) -> None:
    """Containers have 64 MiB of it."""
    assert "cannot be written" in shared_memory(READ_ONLY).text
    free(64 * 2**20)
    found = shared_memory(str(tmp_path))
    assert found.state == "note"
    assert "64 MiB free" in found.text
    assert "--shm-size" in found.text
    free(2**30)
    assert shared_memory(str(tmp_path)).state == "ok"


def test_a_home_that_cannot_be_written_matters_to_the_cache_alone(tmp_path: Path) -> None:
    """A launch needs nothing there; only work is done twice."""
    read_only = Path(READ_ONLY)
    found = home(read_only, cache=read_only / ".cache" / "sweeper")
    assert found.state == "note"
    assert "SWEEPER_CACHE=FOLDER" in found.text
    assert home(read_only, cache=tmp_path / "new").state == "ok"
    assert home(tmp_path, cache=tmp_path / "new").state == "ok"


def test_each_place_on_a_full_disk_is_named(tmp_path: Path, free) -> None:
    """With the options and variables that name another."""
    folders = {"the database": tmp_path / "not" / "yet", "checkpoints": tmp_path}
    free(2**30)
    found = disk(folders)
    assert found.state == "wrong"
    assert f"1.0 GiB free for the database ({tmp_path}/not/yet)" in found.text
    assert "SWEEPER_CHECKPOINTS" in found.text
    free(2**33)
    assert disk(folders).text == "8.0 GiB free for the database, checkpoints"


def test_a_plug_in_is_run_and_its_parts_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(
        "from trainers.catalogue import Entry, add\n"
        "add(Entry('loss', 'mine', object))\nadd(Entry('sampler', 'mine', object))\n"
    )
    bad.write_text("raise RuntimeError('no such file')\n")
    assert plugin(good).text == f"{good} runs, and adds loss mine, sampler mine"
    found = plugin(bad)
    assert found.state == "wrong"
    assert "RuntimeError: no such file" in found.text


def test_an_executor_that_is_not_built_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This is a note: everything works without it, more slowly."""
    monkeypatch.setattr(build, "library_of", lambda level: tmp_path / level)
    found = executor()
    assert found.state == "note"
    assert found.text.endswith("run python -m trainers.compiled.build")
    (tmp_path / build.levels()[0]).touch()
    assert (executor().state, executor().text) == ("ok", f"built for {build.levels()[0]}")
