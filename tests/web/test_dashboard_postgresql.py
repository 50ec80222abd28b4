"""The gate before a sweep that lies in PostgreSQL: shown, and never written."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import optuna
import psycopg
import pytest
import uvicorn
from mirrored import finished
from optuna.study import StudyDirection
from patience import HANG, eventually
from servers import NoServer, postgresql_server

from sweeper import dashboard
from sweeper.errors import InputError

STUDY = "batch-size-digits"


@dataclass(frozen=True)
class Served:
    """A gate that listens, and the database behind it."""

    port: int
    url: str

    def ask(self, method: str, path: str, *, host: str = "") -> tuple[int, bytes]:
        """Status and body of one request over a real connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A PostgreSQL with one finished sweep in it."""
    try:
        with postgresql_server() as server:
            address = server.make_database()
            finished(address)
            yield address
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Served]:
    """The dashboard over it, served on a free port until the module is done."""
    with dashboard.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        app = dashboard.application(url, port=port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: server.started, "the server never started")
        yield Served(port, url)
        server.should_exit = True
        thread.join(timeout=HANG)


def contents(url: str) -> list[tuple[str, int]]:
    """The studies' names, each with how many trials it has."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT study_name, count(trial_id) FROM studies LEFT JOIN trials USING (study_id) "
            "GROUP BY study_name ORDER BY study_name"
        ).fetchall()


def test_the_study_is_shown(served: Served) -> None:
    """The page, the list of studies, and every trial of the sweep with its value."""
    assert served.ask("GET", "/dashboard")[0] == 200
    status, body = served.ask("GET", "/api/studies")
    assert status == 200
    [study] = [one for one in json.loads(body)["study_summaries"] if one["study_name"] == STUDY]
    status, body = served.ask("GET", f"/api/studies/{study['study_id']}")
    trials = json.loads(body)["trials"]
    assert (status, len(trials)) == (200, 8)
    assert all(trial["state"] == "Complete" and trial["values"] for trial in trials)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_writes_is_refused_and_changes_nothing(served: Served, method: str) -> None:
    """405 for every method but GET and HEAD, and the database is as it was."""
    before = contents(served.url)
    for path in ("/api/studies", "/api/studies/1", "/api/studies/1/rename", "/api/trials/1/tell"):
        assert served.ask(method, path)[0] == 405, path
    assert contents(served.url) == before != []


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_another_host_is_refused(served: Served, host: str) -> None:
    """A name that was made to point to this machine gets nothing of it."""
    status, body = served.ask("GET", "/api/studies", host=host)
    assert status == 400
    assert STUDY.encode() not in body


def test_the_connection_itself_cannot_write(url: str) -> None:
    """Were the gate to fail, PostgreSQL would still refuse."""
    storage = dashboard.reading_storage(url)
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        storage.create_new_study([StudyDirection.MINIMIZE], "theirs")
    assert "read-only" in str(caught.value.__cause__)
    storage.engine.dispose()


def test_options_of_the_address_hold_beside_read_only(url: str) -> None:
    """An address that names a schema uses this schema, which has no study."""
    mark = "&" if "?" in url else "?"
    with pytest.raises(InputError, match="no Optuna study"):
        dashboard.reading_storage(f"{url}{mark}options=-csearch_path%3Dpg_temp")
