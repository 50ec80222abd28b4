"""The gate before the Optuna dashboard: what passes, what is refused, and that nothing writes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from sweeper import dashboard
from sweeper.errors import InputError

PAGE = "<!doctype html><title>\N{SNOWMAN} report</title>"
PORT = 8080
HOST = f"127.0.0.1:{PORT}"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one study of three trials."""
    url = f"sqlite:///{tmp_path_factory.mktemp('a #1')}/study.db"
    storage = RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    storage.engine.dispose()
    return url


@pytest.fixture(scope="module")
def app(url: str) -> dashboard.Application:
    """The dashboard behind the gate, as `serve` would serve it."""
    return dashboard.application(url, port=PORT)


async def _call(app: dashboard.Application, scope: dict, body: bytes) -> list[dict]:
    sent: list[dict] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: dashboard.Message) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return sent


def ask(
    app: dashboard.Application,
    path: str,
    *,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (("host", HOST), ("accept-encoding", "identity")),
    body: bytes = b"",
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of one request."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": raw,
        "scheme": "http",
        "server": ("127.0.0.1", PORT),
        "client": ("127.0.0.1", 1234),
    }
    sent = asyncio.run(_call(app, scope, body))
    start = sent[0]
    text = b"".join(message.get("body", b"") for message in sent[1:])
    found = [(name.decode().lower(), value.decode()) for name, value in start["headers"]]
    return start["status"], found, text


def test_the_page_and_the_numbers_pass(app: dashboard.Application) -> None:
    """Reading works: the page, the studies and one study's trials."""
    assert ask(app, "/dashboard")[0] == 200
    status, _, body = ask(app, "/api/studies")
    assert status == 200
    assert b'"mine"' in body
    assert ask(app, "/api/studies/1")[2].count(b'"trial_id"') >= 3


def test_every_writing_route_of_the_dashboard_is_refused(url: str) -> None:
    """No route of the dashboard's own table answers a method other than GET or HEAD."""
    from optuna_dashboard import wsgi

    served: Any = wsgi(dashboard.reading_storage(url))
    writing = [route for route in served.routes if route.method not in {"GET", "HEAD"}]
    app = dashboard.application(url, port=PORT)

    assert len(writing) >= 12
    for route in writing:
        path = re.sub(r"<[^>]*>", "1", route.rule)
        status, headers, _ = ask(app, path, method=route.method, body=b"{}")
        assert (status, dict(headers)["allow"]) == (405, "GET, HEAD"), route


@pytest.mark.parametrize("method", METHODS)
def test_only_get_and_head_pass_whatever_the_headers_claim(
    app: dashboard.Application, method: str
) -> None:
    """A method-override header changes nothing: the method of the request itself counts."""
    headers = (("host", HOST), ("x-http-method-override", "GET"), ("x-method-override", "DELETE"))
    status, _, _ = ask(app, "/api/studies", method=method, headers=headers)
    assert status == (200 if method in {"GET", "HEAD"} else 405)


def test_a_refused_write_changes_nothing(app: dashboard.Application, url: str) -> None:
    """After every writing route was tried the study is as it was."""
    ask(app, "/api/studies/1", method="DELETE")
    ask(app, "/api/studies/1/rename", method="POST", body=b'{"study_name": "theirs"}')
    assert optuna.get_all_study_names(url) == ["mine"]


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1:{PORT}.example.org", ""]
)
def test_a_foreign_host_header_is_refused(app: dashboard.Application, host: str) -> None:
    """A name that an attacker makes point to this machine (DNS rebinding) gets nothing."""
    assert ask(app, "/api/studies", headers=(("host", host),))[0] == 400


def test_a_missing_or_double_host_header_is_refused(app: dashboard.Application) -> None:
    """Two Host headers could be read in two ways, so neither is."""
    assert ask(app, "/", headers=())[0] == 400
    assert ask(app, "/", headers=(("host", HOST), ("host", HOST)))[0] == 400


@pytest.mark.parametrize("origin", ["https://example.org", "null", "http://127.0.0.1:81"])
@pytest.mark.parametrize("method", METHODS)
def test_a_foreign_origin_is_refused_on_every_method(
    app: dashboard.Application, method: str, origin: str
) -> None:
    """Another site's script gets 403, before its method is looked at."""
    headers = (("host", HOST), ("origin", origin))
    assert ask(app, "/api/studies", method=method, headers=headers)[0] == 403


def test_the_own_origin_passes(app: dashboard.Application) -> None:
    """The dashboard's own page may send its Origin."""
    headers = (("host", HOST), ("origin", f"http://{HOST}"))
    assert ask(app, "/api/studies", headers=headers)[0] == 200


@pytest.mark.parametrize("path", ["/incompatible-rdb-schema", "/artifacts/1/ab", "/x", "//api/"])
def test_paths_outside_the_list_are_not_routed(app: dashboard.Application, path: str) -> None:
    """What the page does not need is not there."""
    assert ask(app, path)[0] == 404


@pytest.mark.parametrize("path", ["/static/../_app.py", "/static/../../x", "/static//etc/passwd"])
def test_static_files_stay_in_their_folder(app: dashboard.Application, path: str) -> None:
    """A path that climbs out of the static folder finds nothing."""
    status, _, body = ask(app, path)
    assert status in {403, 404}
    assert b"import" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/api/studies/999", "/x"])
def test_every_answer_carries_the_guarding_headers(app: dashboard.Application, path: str) -> None:
    """No sniffing, no framing, no caching, and never a header that lets other sites read."""
    _, headers, _ = ask(app, path)
    assert ("x-content-type-options", "nosniff") in headers
    assert ("x-frame-options", "DENY") in headers
    assert ("content-security-policy", "frame-ancestors 'none'") in headers
    assert ("cache-control", "no-store") in headers
    assert not [name for name, _ in headers if name.startswith("access-control")]


def test_a_web_socket_is_closed_unread(app: dashboard.Application) -> None:
    """The dashboard has none, so an upgrade is somebody else's."""
    sent = asyncio.run(_call(app, {"type": "websocket", "path": "/", "headers": []}, b""))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_the_connection_itself_cannot_write(url: str) -> None:
    """Were the gate to fail, SQLite would still refuse."""
    storage = dashboard.reading_storage(url)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        storage.create_new_study([StudyDirection.MINIMIZE], "theirs")
    storage.engine.dispose()


def test_reading_makes_no_database(tmp_path: Path) -> None:
    """A database that is not there is not made by looking at it."""
    path = tmp_path / "absent.db"
    with pytest.raises(InputError, match="no Optuna study"):
        dashboard.reading_storage(f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104
def test_only_loopback_addresses_are_listened_on(host: str) -> None:
    """The dashboard has no login, so it is never offered to a network."""
    with pytest.raises(InputError, match="not a loopback address"):
        dashboard.listen(host, 0)


def test_a_taken_port_is_named() -> None:
    """The message names the port and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"{port} cannot be used.*--port 0"):
            dashboard.listen("127.0.0.1", port)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a sweep's study, that of its tuning, and somebody else's."""
    url = f"sqlite:///{tmp_path_factory.mktemp('a')}/study.db"
    storage = RDBStorage(url)
    for name in ("mine", "mine.tuning", "theirs"):
        optuna.create_study(storage=storage, study_name=name, direction="maximize")
    storage.engine.dispose()
    return url


@pytest.fixture(scope="module")
def shelf(studies: str) -> dashboard.Application:
    """The dashboard with one report."""
    return dashboard.application(
        studies, port=PORT, reports=dashboard.Reports(lambda: ["mine"], lambda name: PAGE)
    )


def _artifacts(shelf: dashboard.Application, study: int) -> list[dict[str, str]]:
    return json.loads(ask(shelf, f"/api/studies/{study}")[2])["artifacts"]


def test_the_sweeps_study_alone_has_its_report(shelf: dashboard.Application) -> None:
    """The report's entry has a clear name; the other studies have no such entry."""
    [found] = _artifacts(shelf, 1)
    assert (found["filename"], found["mimetype"]) == ("mine report.html", "text/html")
    assert [_artifacts(shelf, study) for study in (2, 3)] == [[], []]


def test_the_report_is_served_and_nothing_else(shelf: dashboard.Application) -> None:
    """Its bytes, guarded as everything is; an unknown key is not found."""
    [found] = _artifacts(shelf, 1)
    status, headers, body = ask(shelf, f"/artifacts/1/{found['artifact_id']}")
    assert (status, body.decode()) == (200, PAGE)
    assert ("content-type", "text/html") in [(k.lower(), v) for k, v in headers]
    assert ("cache-control", "no-store") in headers
    assert not [name for name, _ in headers if name.lower().startswith("access-control")]
    assert ask(shelf, f"/artifacts/3/{found['artifact_id']}")[0] == 404
    assert ask(shelf, "/artifacts/1/abcd")[0] == 404
    assert ask(shelf, f"/artifacts/1/{found['artifact_id']}", method="DELETE")[0] == 405


def test_nothing_was_written(shelf: dashboard.Application, studies: str) -> None:
    """After all that was read, the file is the same to the last byte."""
    file = Path(studies.removeprefix("sqlite:///"))
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    [found] = _artifacts(shelf, 1)
    ask(shelf, f"/artifacts/1/{found['artifact_id']}")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert list(file.parent.iterdir()) == [file]
    assert get_all_artifact_meta(optuna.load_study(study_name="mine", storage=studies)) == []


def test_the_store_takes_and_removes_nothing() -> None:
    """Were the gate to fail, there is still nobody to write."""
    reports = dashboard.Reports(lambda: ["mine"], lambda name: PAGE)
    for write in (lambda: reports.write("a", None), lambda: reports.remove("a")):  # pyright: ignore
        with pytest.raises(PermissionError):
            write()
    with pytest.raises(ArtifactNotFound):
        reports.open_reader("ab")
