"""The schema: made, brought up to date with a copy kept, never half-changed, never downgraded."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from later import become_newer
from sqlalchemy import Connection, inspect, text
from store_samples import Plan, new_sweep, planned

from sweeper.errors import StoreError
from sweeper.store import Store, schema
from sweeper.store.tables import StoredTable


def _version(connection: Connection) -> str:
    return connection.execute(text("SELECT version_num FROM sweeper_alembic_version")).scalar_one()


def _columns(connection: Connection) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns("sweeper_sweep")}


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this Sweeper the next one, which has a further migration."""

    def make(more: str) -> None:
        become_newer(tmp_path, monkeypatch, more)

    return make


def test_the_migrations_arrive_at_the_tables(store: Store) -> None:
    """What Alembic made is what the code declares: types, keys, indexes."""

    def differences(connection: Connection) -> list[object]:
        def ours(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or (name or "").startswith("sweeper_")

        options = {"include_name": ours, "version_table": schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts={**options, "compare_type": True})
        return list(compare_metadata(context, StoredTable.metadata))

    assert store.database.read(differences) == []


def test_the_revisions_are_the_scripts() -> None:
    """The list that orders old and newer databases has every script."""
    names = sorted(path.name[:4] for path in (schema.SCRIPTS / "versions").glob("[0-9]*.py"))
    assert names == list(schema.REVISIONS)


def test_an_old_schema_is_migrated(
    plan: Plan, opened: Callable[..., Store], newer: Callable[[str], None]
) -> None:
    """Everything that was there is there afterwards."""
    plan.finish(plan.run_ids[0])
    before = plan.store.runs(plan.sweep.id)
    plan.store.close()
    newer("")
    store = opened()
    assert store.database.read(_version) == "later"
    assert "later" in store.database.read(_columns)
    assert store.runs(plan.sweep.id) == before


def test_a_copy_is_kept_of_a_migrated_file(tmp_path: Path, newer: Callable[[str], None]) -> None:
    """Beside it, private, whole, in the old schema."""
    url = f"sqlite:///{tmp_path}/a.db"
    with Store.open(url, create=True) as store:
        planned(store)
    before = schema.REVISIONS[-1]
    newer("")
    Store.open(url, create=False).close()
    (copy,) = tmp_path.glob("a.db.backup-*")
    assert copy.name == f"a.db.backup-{before}"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM sweeper_run").fetchone() == (4,)
        assert connection.execute("SELECT * FROM sweeper_alembic_version").fetchone() == (before,)
    connection.close()


def test_without_a_copy_nothing_is_migrated(tmp_path: Path, newer: Callable[[str], None]) -> None:
    """Where the copy cannot be written the file stays as it is, and the message says why."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    Store.open(url, create=True).close()
    before = (tmp_path / "a.db").read_bytes()
    (tmp_path / f"a.db.backup-{schema.REVISIONS[-1]}").mkdir()
    newer("")
    with pytest.raises(StoreError, match=r"older Sweeper, and a\.db\.backup-.*cannot be written"):
        Store.open(url, create=True)
    assert (tmp_path / "a.db").read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_schema(
    plan: Plan, opened: Callable[..., Store], newer: Callable[[str], None]
) -> None:
    """All of it or nothing: the column that it had added is gone again."""
    before = schema.REVISIONS[-1]
    newer("raise RuntimeError('halfway')")
    with pytest.raises(RuntimeError, match="halfway"):
        opened()
    assert plan.store.database.read(_version) == before
    assert "later" not in plan.store.database.read(_columns)


def test_a_newer_schema_is_refused(plan: Plan, opened: Callable[..., Store]) -> None:
    """With the version, and what to do; nothing is changed."""
    change = text("UPDATE sweeper_alembic_version SET version_num = '0099'")
    plan.store.database.write(lambda connection: connection.execute(change))
    for create in (True, False):
        with pytest.raises(StoreError, match=r"newer Sweeper \(schema 0099.*upgrade Sweeper"):
            opened(create=create)
    assert plan.store.database.read(_version) == "0099"


def test_two_drivers_may_make_the_same_database(opened: Callable[..., Store]) -> None:
    """Whoever comes second finds the tables."""
    errors: list[BaseException] = []

    def open_and_write(number: int) -> None:
        try:
            opened().create_sweep(new_sweep(f"sweep-{number}"))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=open_and_write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(opened(create=False).sweeps()) == 4


def test_opening_again_migrates_nothing(
    plan: Plan, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ordinary case looks at one row, and does not even load Alembic."""
    monkeypatch.setattr(schema, "_migrate", lambda _: pytest.fail("migrated"))
    assert opened().sweep("digits") is not None
    assert plan.store.database.read(_version) == schema.REVISIONS[-1]


def test_the_version_table_is_not_optunas(store: Store) -> None:
    """Optuna owns `alembic_version`."""
    tables = store.database.read(lambda connection: inspect(connection).get_table_names())
    assert "sweeper_alembic_version" in tables
    assert "alembic_version" not in tables


def test_a_database_of_somebody_else_is_refused(
    store_url: str, opened: Callable[..., Store]
) -> None:
    """Its tables are named, and none of ours is made."""
    store = opened()
    store.database.write(_make_foreign)
    with pytest.raises(StoreError, match=r"another program's database .*customers"):
        opened()
    tables = store.database.read(lambda connection: inspect(connection).get_table_names())
    assert tables == ["customers"]


def _make_foreign(connection: Connection) -> None:
    StoredTable.metadata.drop_all(connection)
    connection.execute(text("DROP TABLE sweeper_alembic_version"))
    connection.execute(text("CREATE TABLE customers (id INTEGER)"))
