"""PostgreSQL that cannot be used: one line, the right exit code, never the password."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from patience import eventually
from servers import Server
from sqlalchemy import make_url

from sweeper.errors import DatabaseLost, StoreError, SweeperError
from sweeper.store import Store
from sweeper.store.study import Study

SECRET = "g%he?m-9"  # noqa: S105 - of a server that lives for one test


def _told(url: str, *, error: type[SweeperError]) -> str:
    """Returns the message; fails if any line of the traceback contains the password."""
    with pytest.raises(SweeperError) as caught:
        Store.open(url, create=True, patience=0.1)
    assert type(caught.value) is error
    whole = "".join(traceback.format_exception(caught.value))
    assert SECRET not in whole
    assert "g%25he" not in whole
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_does_not_answer_is_named_by_host() -> None:
    """Exit 1: the address may be right and the server down."""
    message = _told("postgresql://me:g%25he%3Fm-9@127.0.0.1:1/sweeper", error=DatabaseLost)
    assert message.startswith("postgresql://127.0.0.1:1/sweeper: the database does not answer")
    assert SweeperError.exit_code == 1


def test_a_missing_database_is_named(postgresql: Server) -> None:
    """Exit 2: the server answered that it has none of that name."""
    message = _told(postgresql.url("nowhere"), error=StoreError)
    assert 'database "nowhere" does not exist' in message


def _reload(server: Server) -> None:
    """Has the server read its rules again; returns once it has."""

    def loaded() -> object:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            row = connection.execute("SELECT pg_conf_load_time(), pg_reload_conf()").fetchone()
            assert row is not None
            return row[0]

    before = loaded()
    eventually(lambda: loaded() != before, "the rules were never read")


@pytest.fixture
def locked(postgresql: Server) -> Iterator[str]:
    """The URL of a role that needs a password: SECRET."""
    rules = Path(postgresql.server.pgdata) / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'locked'")
        if found.fetchone() is None:
            connection.execute(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{SECRET}'")
        rules.write_text("local all locked scram-sha-256\n" + before)
        _reload(postgresql)
        url = make_url(postgresql.emptied_database()).set(username="locked", password=SECRET)
        yield url.render_as_string(hide_password=False)
        rules.write_text(before)
        _reload(postgresql)


def test_a_wrong_password_is_refused_without_telling_it(locked: str) -> None:
    """Exit 2, at once: waiting would not mend it."""
    wrong = make_url(locked).set(username="locked", password=SECRET + "x")
    message = _told(wrong.render_as_string(hide_password=False), error=StoreError)
    assert "password authentication failed" in message


def test_a_password_that_is_missing_is_asked_for(locked: str) -> None:
    """Exit 2: the server asks for a password, and the address has none."""
    bare = make_url(locked)._replace(password=None)
    message = _told(bare.render_as_string(hide_password=False), error=StoreError)
    assert message.endswith("refused: no password supplied")


def test_a_role_that_is_not_there_is_named(postgresql: Server) -> None:
    """Exit 2: the server knows nobody of that name."""
    unknown = make_url(postgresql.url("postgres")).set(username="nobody", password=SECRET)
    message = _told(unknown.render_as_string(hide_password=False), error=StoreError)
    assert message.endswith('refused: role "nobody" does not exist')


@pytest.fixture
def weak(postgresql: Server) -> Iterator[str]:
    """The URL of a role that may do nothing but look, in a database of others."""
    url = make_url(postgresql.emptied_database())
    with psycopg.connect(postgresql.url("emptied"), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS weak")
        connection.execute(f"CREATE ROLE weak LOGIN PASSWORD '{SECRET}'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM public")
        yield url.set(username="weak", password=SECRET).render_as_string(hide_password=False)
        connection.execute("GRANT CONNECT ON DATABASE emptied TO public")
        connection.execute("DROP OWNED BY weak")
        connection.execute("DROP ROLE weak")


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("ALTER ROLE weak NOLOGIN", 'role "weak" is not permitted to log in'),
        ("REVOKE CONNECT ON DATABASE emptied FROM public", 'permission denied for database "empti'),
        ("GRANT USAGE ON SCHEMA public TO weak", "permission denied for schema public; ask for r"),
    ],
)
def test_a_role_without_rights_is_told_which(postgresql: Server, weak: str, order, says) -> None:
    """Exit 2, and no fault of ours: it may not log in, not here, or not make tables."""
    with psycopg.connect(postgresql.url("emptied"), autocommit=True) as connection:
        connection.execute(order)
    assert f"refused: {says}" in _told(weak, error=StoreError)


def test_the_right_password_is_never_shown(locked: str) -> None:
    """Neither a store nor a study shows the password, and both work with its odd characters."""
    with Store.open(locked, create=True) as store:
        study = Study(locked, "digits", objective="accuracy", direction="maximize")
        for thing in (store, store.database, store.database.address, study):
            assert SECRET not in repr(thing)
            assert SECRET not in str(thing)
        assert store.sweeps() == []
        study.close()
