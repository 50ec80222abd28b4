"""Databases that cannot be used: one line, exit 2, nothing made, nothing changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from store_samples import planned

from sweeper.errors import StoreError
from sweeper.store import Store, dialects


def _refused(url: str, *, create: bool = True) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(url, create=create)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "storage: empty; name a database, as in sqlite:///sweeper.db"),
        ("sweeper.db", "storage: not a database URL; did you mean 'sqlite:///sweeper.db'?"),
        ("me:geheim@host/db",
         "storage: not a database URL; it starts with sqlite:/// or postgresql://"),
        ("sqllite:///a.db", "storage: unknown database driver 'sqllite'; did you mean 'sqlite'?"),
        ("postgres://me:geheim@host/db",
         "storage: unknown database driver 'postgres'; did you mean 'postgresql'?"),
        ("mysql://me:geheim@host/db",
         "storage: unknown database driver 'mysql'; valid: postgresql, sqlite"),
        ("postgresql://me:geheim@host:port/db", "storage: this postgresql URL cannot be read"),
        ("postgresql://me:geheim@host:5433",
         "storage: name a database, as in postgresql://host:5433/sweeper"),
        ("sqlite://", "storage: name a file, as in sqlite:///sweeper.db; a sweep outlives memory"),
        ("sqlite:///:memory:",
         "storage: name a file, as in sqlite:///sweeper.db; a sweep outlives memory"),
        ("sqlite://a.db/x",
         "storage: sqlite:// takes no host; write three slashes before the file"),
        ("sqlite:///file:a.db?mode=ro&uri=true",
         "storage: name a plain file, as in sqlite:///sweeper.db"),
    ],
)  # fmt: skip
def test_a_url_that_names_no_database(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest valid one is named, the password never, and no file is made."""
    monkeypatch.chdir(tmp_path)
    assert _refused(url) == message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_made_by_looking(tmp_path: Path) -> None:
    """`status`, `report` and `export` never leave an empty database behind."""
    message = _refused(f"sqlite:///{tmp_path}/none.db", create=False)
    assert message.endswith("none.db: no such database; `sweeper launch SPEC` makes one")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder(tmp_path: Path) -> None:
    """Folders are not made."""
    assert f"there is no folder {tmp_path}/no" in _refused(f"sqlite:///{tmp_path}/no/a.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """Said as it is."""
    assert _refused(f"sqlite:///{tmp_path}").endswith(": a folder, not a database")


def test_a_pipe_is_no_database(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert _refused(f"sqlite:///{tmp_path}/pipe").endswith(": not a regular file")


def test_an_empty_file_holds_no_sweep(tmp_path: Path) -> None:
    """Looking at it changes nothing; a launch may use it."""
    (tmp_path / "a.db").touch()
    assert "holds no sweep" in _refused(f"sqlite:///{tmp_path}/a.db", create=False)
    assert (tmp_path / "a.db").stat().st_size == 0
    Store.open(f"sqlite:///{tmp_path}/a.db", create=True).close()


def test_our_files_are_private(tmp_path: Path) -> None:
    """Mode 0600, the log beside the file included."""
    with Store.open(f"sqlite:///{tmp_path}/a.db", create=True) as store:
        planned(store)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("a.db", "a.db-wal", "a.db-shm"), 0o600)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A good database of a few hundred pages."""
    path = tmp_path / "a.db"
    with Store.open(f"sqlite:///{path}", create=True) as store:
        plan = planned(store)
        text = os.urandom(200_000).hex()
        store.update_sweep(plan.lease, spec_text=text)
    return path


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 20 * 4096)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _overwrite,
        lambda path: path.write_text("not a database, but longer than a header. " * 100),
        lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_damaged_file_is_refused_untouched(
    filled: Path, damage: Callable[[Path], object], create: bool
) -> None:
    """Nothing is repaired behind the user's back (fault 37)."""
    damage(filled)
    before = filled.read_bytes()
    message = _refused(f"sqlite:///{filled}", create=create)
    assert "a.db: not a database, or a damaged one" in message
    assert "backup" not in message
    assert filled.read_bytes() == before


def test_the_newest_backup_of_a_damaged_file_is_named(filled: Path) -> None:
    """It is what the user looks for next (fault 37)."""
    for revision in ("0001", "0002"):
        shutil.copy(filled, filled.with_name(f"a.db.backup-{revision}"))
    _truncate(filled)
    assert _refused(f"sqlite:///{filled}").endswith("; there is a backup: a.db.backup-0002")


@pytest.mark.parametrize("create", [True, False])
def test_another_programs_database_is_refused_untouched(tmp_path: Path, create: bool) -> None:
    """Its tables are named; not a byte changes, not even its journal mode."""
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        for name in ("places", "moods", "visits", "songs"):
            connection.execute(f"CREATE TABLE {name} (id)")
    connection.close()
    before = path.read_bytes()
    message = _refused(f"sqlite:///{path}", create=create)
    assert "another program's database (it holds moods, places, songs ...)" in message
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


def test_an_optuna_database_may_hold_a_sweep_as_well(tmp_path: Path) -> None:
    """Its studies stay as they are; a sweep named like one of them is refused."""
    url = f"sqlite:///{tmp_path}/a.db"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(study_name="theirs", storage=storage)
    assert "holds no sweep" in _refused(url, create=False)
    with Store.open(url, create=True) as store:
        planned(store, name="ours")
        with pytest.raises(StoreError, match="study 'theirs' that is not Sweeper's"):
            planned(store, name="theirs")
        assert [sweep.name for sweep in store.sweeps()] == ["ours"]
    assert [study.study_name for study in storage.get_all_studies()] == ["theirs"]
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_a_file_on_a_networks_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """SQLite's locks do not hold there."""
    table = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n"
    monkeypatch.setattr(dialects, "mounts", lambda: table)
    message = _refused(f"sqlite:///{tmp_path}/a.db")
    assert f"SQLite needs a local disk, and this is {kind}" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/a", "ext4"),
        ("/data", "nfs4"),
        ("/data/deep/er", "nfs4"),
        ("/database", "ext4"),
        ("/data/local/x", "xfs"),
        ("/with space/x", "cifs"),
    ],
)
def test_the_mount_of_a_path_is_the_longest_and_last(path: str, kind: str) -> None:
    """As the kernel resolves it."""
    table = (
        "/dev/a / tmpfs rw 0 0\n/dev/b / ext4 rw 0 0\nserver:/d /data nfs4 rw 0 0\n"
        "/dev/c /data/local xfs rw 0 0\n//s/x /with\\040space cifs rw 0 0\n"
    )
    assert dialects.mount_type(Path(path), table) == kind
    assert dialects.mount_type(Path(path), "") == ""


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Gives up root, for whom no file is read-only, until the test ends."""

    def drop() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield drop
    if os.getuid() == 0:
        os.seteuid(0)


def test_a_read_only_file_may_be_looked_at_and_not_written(as_nobody: Callable[[], None]) -> None:
    """A launch says so at once; a report works."""
    folder = Path(tempfile.mkdtemp())  # pytest's own folders let nobody in
    path = folder / "a.db"
    try:
        with Store.open(f"sqlite:///{path}", create=True) as store:
            planned(store)
        path.chmod(0o444)
        folder.chmod(0o777)
        as_nobody()
        assert _refused(f"sqlite:///{path}").endswith("cannot be written (read-only)")
        with Store.open(f"sqlite:///{path}", create=False) as store:
            assert [sweep.name for sweep in store.sweeps()] == ["digits"]
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written(as_nobody: Callable[[], None]) -> None:
    """No database can be made there."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        as_nobody()
        assert "cannot be made: Permission denied" in _refused(f"sqlite:///{folder}/a.db")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)
