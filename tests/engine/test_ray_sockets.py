"""Where Ray's sockets lie: in a short folder of this user's, which goes with the Ray."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import TINY, sweeper

from sweeper.engine import cluster, sockets
from sweeper.errors import InputError

READ_ONLY = "/proc"  # where root can make no file either


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path, unlike those that pytest makes."""
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    yield made
    shutil.rmtree(made)


def padded(folder: Path, length: int) -> str:
    """A folder below, whose path has so many bytes."""
    made = folder / ("x" * (length - len(str(folder)) - 1))
    made.mkdir()
    return str(made)


def test_the_users_folder_is_taken_as_long_as_there_is_room(short: Path) -> None:
    """Up to the last byte of a socket's path; one more, and the next folder is taken."""
    most = sockets.LONGEST - sockets.below() - sockets.ROOM
    fits, not_quite = padded(short, most), padded(short, most + 1)
    assert sockets.check({"TMPDIR": fits}) == fits
    assert sockets.check({"TMPDIR": not_quite}) == sockets.OTHERS[0]
    assert sockets.check({"TMPDIR": fits, "RAY_TMPDIR": str(short)}) == str(short)
    assert not list(Path(fits).iterdir())


@pytest.mark.parametrize("folder", [READ_ONLY, "/nonexistent"])
def test_a_folder_that_is_missing_or_read_only_is_passed_over(folder: str) -> None:
    """The next folder is as good."""
    assert sockets.check({"TMPDIR": folder}) == sockets.OTHERS[0]


def test_without_any_folder_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts: each folder with its fault, and what to set."""
    monkeypatch.setattr(sockets, "OTHERS", (READ_ONLY, "/nonexistent"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * 95)  # noqa: S108
    with pytest.raises(InputError, match="set TMPDIR to a shorter path that you can write") as told:
        cluster.check(None)
    assert "xxx): its path has 100 bytes" in str(told.value)
    assert f"{READ_ONLY}: cannot be written" in str(told.value)


def test_the_folder_is_this_users_alone(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could write there could pose as the cluster."""
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    made = sockets.make()
    assert made.parent == short
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_workers_look_for_modules_where_the_driver_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what comes before Python's own: the folder of a script, and PYTHONPATH."""
    own = [os.path.abspath(entry) for entry in ("first", "")]
    monkeypatch.setattr("sys.path", ["first", "", "/usr/lib/python311.zip", "/usr/lib/python3.11"])
    assert cluster.own_path() == own


@pytest.mark.slow
def test_a_launch_where_much_is_in_its_way(tmp_path: Path, short: Path) -> None:
    """A long TMPDIR, no home, and folders named as ours; and nothing of Ray is left behind."""
    for name in ("trainers", "sweeper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    long = tmp_path / ("x" * 100)
    long.mkdir()
    (tmp_path / "tiny.yaml").write_text(TINY.replace("replicates: 2", "replicates: 1"))
    done = sweeper(
        "launch", "tiny.yaml", "--yes", cwd=tmp_path,
        TMPDIR=str(long), RAY_TMPDIR=str(short), HOME="/nonexistent",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs are complete" in done.stderr
    assert not list(short.iterdir())


@pytest.mark.soak
@pytest.mark.parametrize("option", ["ro", "size=1m"])
def test_19_shared_memory_that_is_small_or_read_only_ends_nothing(
    option: str, tmp_path: Path
) -> None:
    """Ray's objects lie elsewhere then, and Sweeper's are small."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("needs to mount a file system")
    (tmp_path / "tiny.yaml").write_text(TINY.replace("replicates: 2", "replicates: 1"))
    script = f'mount -t tmpfs -o {option} none /dev/shm && exec "$@"'
    under = ["unshare", "--mount", "sh", "-c", script, "sh"]
    done = sweeper("launch", "tiny.yaml", "--yes", cwd=tmp_path, under=under)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs are complete" in done.stderr
