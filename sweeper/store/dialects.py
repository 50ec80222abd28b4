"""The differences between SQLite and PostgreSQL: addresses, connections, errors worth a retry.

A database's password never leaves this file: messages name an `Address` by its label.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from sweeper.errors import DatabaseLost, NothingStored, StoreError, SweeperError, nearest

if TYPE_CHECKING:
    from sqlalchemy import Connection

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
BUSY_SECONDS = 1.0  # in which SQLite ignores signals; `database.patiently` tries again
SHOWN = 60  # characters shown of an impossible file name
LONGEST_NAME = 220  # bytes; backups and journals have longer names
# SQLite's locks and shared memory do not work across machines.
REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph", "glusterfs", "lustre"}
)
TRANSIENT_SQLITE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_IOERR",
    "SQLITE_FULL",
    "SQLITE_PROTOCOL",
)
FORBIDDEN = "42501"  # PostgreSQL's insufficient_privilege
READ_ONLY = "25006"  # a server that is about to become the standby, or not yet the primary
# Also: lost connections, idle or long transactions that the server ended, serialisation failures,
# deadlocks, missing resources, locks, cancelled statements, restarts, and the server's full disk.
TRANSIENT_SQLSTATES = (
    READ_ONLY,
    "08",
    "25P03",
    "25P04",
    "40",
    "53",
    "55006",
    "55P03",
    "57014",
    "57P0",
    "58",
)
CONNECT_SECONDS = 4
# A peer that vanished is noticed after 10 + 3 x 5 seconds of idling, and after 20 seconds while
# something is sent to it. The names are those of libpq.
LIVELINESS = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
# What the server does about a client that vanished: otherwise its open transaction would keep the
# lock on the lease for hours.
IDLE_SECONDS = 15


@dataclass(frozen=True)
class Address:
    """Where a database is.

    Attributes:
        label: its name in messages, without user and password.
        path: the file, for SQLite.
    """

    url: URL = field(repr=False)
    label: str
    path: Path | None

    @property
    def dialect(self) -> str:
        return self.url.get_backend_name()

    def scrub(self, text: str) -> str:
        """The first line of a driver's message, without the password."""
        line = " ".join(text.split("\n", 1)[0].split())
        for secret in (self.url.password, self.url.query.get("password")):
            if secret:
                line = line.replace(str(secret), "***")
        return line


def parse(text: str) -> Address:
    """Parses a database URL.

    Raises:
        StoreError: not a URL, an unknown driver, or no file named.
    """
    if not text.strip():
        raise StoreError("storage: empty; name a database, as in sqlite:///sweeper.db")
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise StoreError(
            f"storage: not a database URL; did you mean 'sqlite:///{text}'?"
            if "@" not in text
            else "storage: not a database URL; it starts with sqlite:/// or postgresql://"
        )
    if scheme not in DRIVERS:
        known = ("sqlite", "postgresql")
        raise StoreError(f"storage: unknown database driver '{scheme}'{nearest(scheme, known)}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError(f"storage: this {scheme} URL cannot be read") from None
    url = url.set(drivername=DRIVERS[scheme])
    return _file_address(url) if url.get_backend_name() == "sqlite" else _server_address(url)


def masked(text: str) -> str:
    """A database URL for printing: *** for every password in it.

    Raises:
        StoreError: as in `parse`.
    """
    parse(text)
    url = make_url(text)
    hidden = {key: "***" for key in url.query if "password" in key.lower()}
    if url.password is None and not hidden:
        return text
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", "***")


def _file_address(url: URL) -> Address:
    if not url.database or ":memory:" in url.database:
        raise StoreError(
            "storage: name a file, as in sqlite:///sweeper.db; a sweep outlives memory"
        )
    if url.host:
        raise StoreError("storage: sqlite:// takes no host; write three slashes before the file")
    if url.database.startswith("file:"):
        raise StoreError("storage: name a plain file, as in sqlite:///sweeper.db")
    path = Path(url.database).expanduser().absolute()
    if "\0" in url.database or max(len(os.fsencode(part)) for part in path.parts) > LONGEST_NAME:
        shown = repr(url.database[:SHOWN])
        raise StoreError(
            f"storage: {shown}... is not a file name: at most {LONGEST_NAME} bytes between two "
            "slashes, and no NUL"
        )
    return Address(url.set(database=str(path), query={}), f"sqlite:///{url.database}", path)


def _server_address(url: URL) -> Address:
    host = url.host or str(url.query.get("host", "localhost"))
    port = f":{url.port}" if url.port else ""
    if not url.database:
        raise StoreError(f"storage: name a database, as in postgresql://{host}{port}/sweeper")
    return Address(url, f"postgresql://{host}{port}/{url.database}", None)


def check_file(address: Address, *, create: bool) -> None:
    """Checks a SQLite file before it is opened; makes it, with mode 0600, if `create`.

    Raises:
        NothingStored: it does not exist.
        StoreError: it is a folder, not a file, or on a network's disk.
    """
    path = address.path
    if path is None:
        return
    if not path.parent.is_dir():
        raise StoreError(f"{address.label}: there is no folder {path.parent}")
    kind = mount_type(path.parent.resolve(), mounts())
    if kind in REMOTE:
        raise StoreError(
            f"{address.label}: SQLite needs a local disk, and this is {kind}; "
            "use a local path or postgresql://"
        )
    if path.exists():
        _check_is_file(address, path)
    elif not create:
        raise NothingStored(f"{address.label}: no such database; `sweeper launch SPEC` makes one")
    else:
        _make_file(address, path)


def _check_is_file(address: Address, path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{address.label}: a folder, not a database")
    if not stat.S_ISREG(path.stat().st_mode):
        raise StoreError(f"{address.label}: not a regular file")


def _make_file(address: Address, path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{address.label}: cannot be made: {error.strerror}") from error


def mounts() -> str:
    """The kernel's table of mounted file systems; empty if there is none."""
    table = Path("/proc/self/mounts")
    return table.read_text(errors="replace") if table.exists() else ""


def mount_type(path: Path, table: str) -> str:
    """The type of the file system that holds `path`; empty if unknown."""
    found, kind = -1, ""
    for line in table.splitlines():
        _, point, name, *_ = line.split()
        point = point.replace("\\040", " ")
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= found:  # the last of the longest prefixes counts
            found, kind = len(point), name
    return kind


def connect(address: Address) -> Engine:
    """Makes an engine whose transactions are as the store requires."""
    if address.dialect == "sqlite":
        arguments = {"check_same_thread": False, "timeout": BUSY_SECONDS}
        engine = create_engine(address.url, poolclass=NullPool, connect_args=arguments)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        address.url,
        poolclass=NullPool,
        connect_args=server_arguments(address),
        use_native_hstore=False,  # not used, and checking for it takes a statement
        hide_parameters=True,
    )
    event.listen(engine, "connect", prepare_server)
    return engine


def forbid_writing(engine: Engine) -> None:
    """Makes the later connections of an engine refuse every write."""

    def forbid(connection: Any, _: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("SET default_transaction_read_only = on")
            connection.commit()

    event.listen(engine, "connect", forbid)


def prepare_server(connection: Any, _: object) -> None:
    """Makes the server end a transaction that waits for its client, and free its locks."""
    milliseconds = int(1000 * IDLE_SECONDS)
    connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.commit()


def server_arguments(address: Address) -> dict[str, Any]:
    """The arguments of connections to a server; those in the URL have priority."""
    ours = {"connect_timeout": CONNECT_SECONDS, "application_name": "sweeper", **LIVELINESS}
    return {name: value for name, value in ours.items() if name not in address.url.query}


def identity(address: Address) -> tuple[int, int] | None:
    """Device and inode of a SQLite file; None if it does not exist."""
    if address.path is None:
        return None
    try:
        found = address.path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copies the content of an open SQLite database to a new file; mode 0600.

    Raises:
        OSError: the file cannot be made.
        sqlite3.Error: it cannot be written.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(path)) as target:
        connection.backup(target)


def cut(connection: Any) -> None:
    """Ends a server's connection from another thread, where a wait for its answer raises an error.

    Does nothing to a closed connection.
    """
    from psycopg import Error as DatabaseError  # psycopg is only installed for servers

    try:
        number = os.dup(connection.pgconn.socket)
    except (DatabaseError, OSError):
        return
    with socket.socket(fileno=number) as found, suppress(OSError):
        found.shutdown(socket.SHUT_RDWR)


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # no implicit BEGIN: `_begin_sqlite` chooses its kind
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once, whatever the timeout.
    reading = connection.info.get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def upsert(
    connection: Connection, table: type[Any], *, keys: Sequence[str], changes: Sequence[str]
) -> Any:
    """An INSERT into `table` that updates `changes` of an existing row with the same `keys`.

    Without `changes` an existing row stays as it is; without `keys`, one with any key in common.
    """
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(table)
    if not changes:
        return statement.on_conflict_do_nothing(index_elements=list(keys) or None)
    new = {name: statement.excluded[name] for name in changes}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=new)


def transient(error: DBAPIError) -> bool:
    """Returns whether a retry of the transaction may succeed; true for a lost commit."""
    return error.connection_invalidated or transient_cause(error.orig)


def transient_cause(cause: BaseException | None) -> bool:
    """The same for the driver's own exception."""
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "") or ""
        return name.startswith(TRANSIENT_SQLITE)
    code = getattr(cause, "sqlstate", None)
    if _refused(str(cause)):
        return False
    if code is None:  # psycopg has no code if the connection is lost
        names = {kind.__name__ for kind in type(cause).__mro__}
        return not names.isdisjoint({"OperationalError", "InterfaceError"})
    return code.startswith(TRANSIENT_SQLSTATES)


def _refused(text: str) -> bool:
    """Returns whether a server will never let this user or this database in."""
    words = (
        "authentication failed",
        "does not exist",
        "pg_hba.conf",
        "not permitted to log in",
        "permission denied",
    )
    asked_in_vain = "no password supplied" in text  # psycopg's own words, not the server's
    return asked_in_vain or ("FATAL" in text and any(word in text for word in words))


def forbidden(error: DBAPIError) -> bool:
    """Returns whether the server let this user in and then denied a statement."""
    return getattr(error.orig, "sqlstate", None) == FORBIDDEN


def explain(address: Address, error: BaseException | None) -> SweeperError:
    """The error for the user: the database's fault, or the address's."""
    text = address.scrub(str(error))
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return damaged(address, text)
    if name.startswith("SQLITE_READONLY"):
        return StoreError(f"{address.label}: cannot be written (read-only)")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(f"{address.label}: cannot be opened: {text}")
    if getattr(error, "sqlstate", None) == FORBIDDEN:
        return StoreError(f"{address.label}: refused: {text}; ask for rights to create and write")
    if address.path is None and _refused(text):
        return StoreError(f"{address.label}: refused: {_reason(text)}")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return DatabaseLost(f"{address.label}: cannot be written: {text}")
    if getattr(error, "sqlstate", None) == READ_ONLY:
        return DatabaseLost(f"{address.label}: the server allows reading only: {text}")
    return DatabaseLost(f"{address.label}: the database does not answer: {text}")


def _reason(text: str) -> str:
    """The server's reason, or the client's, without the address."""
    return (text.partition("FATAL:")[2] or text.rpartition(": ")[2]).strip()


def use_wal(address: Address) -> None:
    """Switches a SQLite file to write-ahead logging, which is stored in the file.

    Without it a reader, such as the dashboard, would make writes fail.

    Raises:
        SweeperError: the file is read-only, or another process keeps it locked.
    """
    if address.path is None:
        return
    for last in (*[False] * 20, True):
        try:
            with closing(sqlite3.connect(address.path, timeout=BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.Error as error:
            if last or not transient_cause(error):
                raise explain(address, error) from error
        time.sleep(0.1)  # the switch itself does not wait for another driver's switch


def damaged(address: Address, text: str) -> StoreError:
    """The error of a file that is not a database, or damaged; names the newest backup."""
    path = address.path
    backups = sorted(path.parent.glob(f"{path.name}.backup-*")) if path else []
    hint = f"; there is a backup: {backups[-1].name}" if backups else ""
    return StoreError(f"{address.label}: not a database, or a damaged one ({text}){hint}")
