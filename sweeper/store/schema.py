"""Checks the owner and the schema of a database before anything is written to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from sweeper.errors import NothingStored, StoreError
from sweeper.store.dialects import damaged, use_wal

if TYPE_CHECKING:
    from sweeper.store.database import Database

VERSION_TABLE = "sweeper_alembic_version"
SCRIPTS = Path(__file__).parent / "migrations"
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
# Old schemas that can be read as they are: later ones only add tables, and a reader finds nothing
# in a missing table. 0005 and later ones change only tables that the service alone reads.
READABLE = frozenset({"0001", "0002", "0003", "0004", "0005", "0006", "0007"})
OPTUNA = frozenset(
    {
        "studies", "study_directions", "study_user_attributes", "study_system_attributes",
        "trials", "trial_user_attributes", "trial_system_attributes", "trial_params",
        "trial_values", "trial_intermediate_values", "trial_heartbeats", "version_info",
        "alembic_version",
    }
)  # fmt: skip
LOCK = 0x53776565  # PostgreSQL's advisory lock for migrations: any fixed number


def prepare(database: Database, *, create: bool) -> None:
    """Updates the schema, or refuses; readers change nothing if the old schema is readable.

    Raises:
        NothingStored: empty, when not `create`.
        StoreError: foreign, newer, damaged, read-only.
    """
    if create and database.address.path is not None:
        _check_pages(database)
    revision = database.read(lambda connection: _revision(connection, database.address.label))
    if revision is None and not create:
        raise NothingStored(
            f"{database.address.label}: holds no sweep; `sweeper launch SPEC` makes one"
        )
    if not create and revision in READABLE:
        return
    if revision != REVISIONS[-1]:
        if revision is not None:
            back_up(database, revision)
        use_wal(database.address)
        database.write(_migrate)
    elif create:
        use_wal(database.address)
        database.write(_rewrite_revision)


def back_up(database: Database, revision: str) -> None:
    """Copies a SQLite file to a backup beside it, before its schema changes; mode 0600.

    Raises:
        StoreError: it cannot be written there.
    """
    path = database.address.path
    if path is None:
        return
    target = path.with_name(f"{path.name}.backup-{revision}")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{database.address.label}: its schema is of an older Sweeper, and {target.name}, the "
            f"copy to keep of it, cannot be written: {error}"
        ) from error


def _revision(connection: Connection, label: str) -> str | None:
    """The schema's revision; None if the database is empty."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        foreign = sorted(tables - OPTUNA)
        if foreign:
            shown = ", ".join(foreign[:3]) + (" ..." if len(foreign) > 3 else "")
            raise StoreError(
                f"{label}: another program's database (it holds {shown}); name a separate database"
            )
        return None
    revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if revision is not None and revision not in REVISIONS:
        raise StoreError(
            f"{label}: made by a newer Sweeper (schema {revision}, this one knows "
            f"{REVISIONS[-1]}); upgrade Sweeper"
        )
    return revision


def _rewrite_revision(connection: Connection) -> None:
    """Writes the stored value again, so that a read-only database fails now, not after an hour."""
    connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))  # noqa: S608


def _check_pages(database: Database) -> None:
    verdict = database.read(lambda c: c.execute(text("PRAGMA quick_check(1)")).scalar())
    if verdict != "ok":
        raise damaged(database.address, str(verdict).splitlines()[0])


def _migrate(connection: Connection) -> None:
    # Alembic is slow to import, and needed only here.
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
