"""Optuna's dashboard on this machine, behind a gate that allows no writes.

The dashboard has a dozen writing routes and no login, and only the driver may write to a sweep. A
page in any browser tab can send requests to a loopback address, so the loopback address alone
protects nothing. The gate rejects requests before routing, and the database is opened read-only.

Each sweep's report is an artifact of its study. Optuna stores an artifact as an attribute of the
study and a file beside the database. Here both are made while reading, so nothing is written and
the page is always current.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from sweeper.errors import InputError
from sweeper.store import dialects

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Attributes = dict[str, Any]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READING = frozenset({"GET", "HEAD"})
HEADER_SECONDS = 10.0  # for a connection to send a whole request
MOST_WAITING = 16  # connections of a client that have not sent a request; a browser opens 6
READ_ONLY = "-c default_transaction_read_only=on"  # to PostgreSQL
# The dashboard's own paths; its page asks for absolute paths, so it needs the root of its port.
PLACES = ("/dashboard", "/static/", "/api/", "/csv/", "/favicon.ico")
ARTIFACTS = "/artifacts/"
NAMES_SECONDS = 5.0  # between two looks at which sweeps there are
# What only writes: create, rename and delete a study, edit notes, upload and delete artifacts, end
# a trial by hand.
HIDDEN_PATH = "/sweeper-read-only.css"
HIDDEN_LINK = f'<link rel="stylesheet" href="{HIDDEN_PATH}">'.encode()
HIDDEN = """
button:has([data-testid="AddBoxIcon"]), button:has([data-testid="EditIcon"]),
button:has([data-testid="CheckBoxIcon"]), button:has([data-testid="DisabledByDefaultIcon"]),
button[aria-label="rename study"], button[aria-label="delete study"],
button[aria-label="delete artifact"], button[aria-label="upload artifact"],
.MuiCard-root:has([data-testid="UploadFileIcon"]):not(:has(.MuiCard-root))
{ display: none !important; }
"""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # A second policy beside the dashboard's own: a browser obeys both.
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)


class ReadOnlyApp:
    """An ASGI application that passes on only requests that read and come from its own page.

    Args:
        app: the application behind the gate.
        port: the port that it is served on; Host and Origin may name no other.
        places: the beginnings of allowed paths.
        hosts: values of Host in the place of loopback's names; a gate before it has checked Origin.
    """

    def __init__(
        self,
        app: Application,
        *,
        port: int,
        places: tuple[str, ...] = PLACES,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._app, self._places = app, places
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = hosts or frozenset(f"{name}:{port}" for name in names)
        self._origins = frozenset(
            f"{scheme}://{host}" for host in self._hosts for scheme in ("http", "https")
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        refusal = self.refuse(scope)
        if refusal is None:
            await self._app(scope, receive, _guarded(scope["path"], send))
        else:
            await _answer(send, *refusal)

    def refuse(self, scope: Message) -> tuple[int, str] | None:
        """Returns a status and a sentence, or None for a request that may pass.

        The checked path is the routed one, `scope["path"]`: a path built from the Host header could
        differ from it.
        """
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 400, "This dashboard answers to its own loopback address only."
        if any(origin not in self._origins for origin in _values(scope, b"origin")):
            return 403, "Another site's page may not read this dashboard."
        if scope["method"] not in READING:
            return 405, "This dashboard is read-only; only the sweep's driver writes."
        path = scope["path"]
        if path != "/" and not path.startswith(self._places):
            return 404, "Nothing here."
        return None


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def _answer(send: Send, status: int, text: str) -> None:
    more = [(b"cache-control", b"no-store"), *HEADERS]
    if status == 405:
        more.append((b"allow", b"GET, HEAD"))
    await _send(send, status, b"text/plain; charset=utf-8", f"{text}\n".encode(), more)


async def _send(
    send: Send, status: int, kind: bytes, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _guarded(path: str, send: Send) -> Send:
    """Wraps `send`: adds the gate's headers, and removes those that admit other sites."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (key, value)
                for key, value in message.get("headers", ())
                if not key.lower().startswith(b"access-control-")
            ]
            rule = b"no-cache" if path.startswith("/static/") else b"no-store"
            kept.append((b"cache-control", rule))
            message = {**message, "headers": [*kept, *HEADERS]}
        await send(message)

    return guarded


class WithoutButtons:
    """An ASGI application that hides the buttons of the dashboard's page that only write.

    The page gets one more style sheet, which is served here.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == HIDDEN_PATH:
            await _send(send, 200, b"text/css", HIDDEN.encode())
        elif scope["path"].startswith("/dashboard"):
            await self._app(scope, receive, _linked(send))
        else:
            await self._app(scope, receive, send)


def _linked(send: Send) -> Send:
    """Wraps `send`: adds the style sheet to the page, which comes whole at the end."""
    started: list[Message] = []
    body = bytearray()

    async def linked(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        whole = bytes(body).replace(b"</head>", HIDDEN_LINK + b"</head>", 1)
        changing = (b"content-length", b"last-modified", b"etag")
        kept = [one for one in started[0].get("headers", ()) if one[0].lower() not in changing]
        length = (b"content-length", str(len(whole)).encode())
        await send({**started[0], "headers": [*kept, length]})
        await send({"type": "http.response.body", "body": whole})

    return linked


class Reports:
    """An artifact store for Optuna with a page for each sweep, made when it is requested.

    Args:
        names: of the sweeps that there are now.
        page: a sweep's name -> its report.
    """

    def __init__(self, names: Callable[[], Iterable[str]], page: Callable[[str], str]) -> None:
        self._names, self._page = names, page
        self._known: dict[str, str] = {}
        self._read_at = -NAMES_SECONDS

    def _sweeps(self) -> Mapping[str, str]:
        """Names by artifact, as they were a few seconds ago."""
        now = time.monotonic()
        if now - self._read_at >= NAMES_SECONDS:
            self._known = {_artifact(name): name for name in self._names()}
            self._read_at = now
        return self._known

    def attributes(self, study: str) -> Attributes:
        """The attributes that `optuna.artifacts.upload_artifact` would write to that study."""
        key = _artifact(study)
        if key not in self._sweeps():
            return {}
        meta = {
            "artifact_id": key,
            "filename": f"{study} report.html",
            "mimetype": "text/html",
            "encoding": None,
        }
        return {f"artifacts:{key}": json.dumps(meta)}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The page as bytes."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        name = self._sweeps().get(artifact_id)
        if name is None:
            raise ArtifactNotFound("not found")
        return io.BytesIO(self._page(name).encode())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Raises: the gate passes no such request."""
        raise PermissionError("this dashboard is read-only")

    def remove(self, artifact_id: str) -> None:
        """Raises."""
        raise PermissionError("this dashboard is read-only")


def _artifact(sweep: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"sweeper:{sweep}"))


def application(
    url: str, *, port: int, reports: Reports | None = None, hosts: frozenset[str] = frozenset()
) -> Application:
    """Optuna's dashboard over the database at `url`, behind the gate.

    Args:
        hosts: as in `ReadOnlyApp`.
    """
    from a2wsgi import WSGIMiddleware
    from optuna_dashboard import wsgi

    extra = reports.attributes if reports else None
    app = wsgi(reading_storage(url, extra), artifact_store=reports)
    places = (*PLACES, ARTIFACTS) if reports else PLACES
    shown = WithoutButtons(WSGIMiddleware(app, workers=4))  # type: ignore[arg-type]
    return ReadOnlyApp(shown, port=port, places=(*places, HIDDEN_PATH), hosts=hosts)


def reading_storage(url: str, extra: Callable[[str], Attributes] | None = None) -> RDBStorage:
    """Optuna's storage over a database that the connection itself cannot write to.

    Args:
        extra: a study's name -> system attributes that are added when it is read.

    Raises:
        InputError: there is no such database, or Optuna's tables are not in it.
    """
    from optuna.exceptions import StorageInternalError

    address = dialects.parse(url).url
    plain = address.render_as_string(hide_password=False)
    try:
        # Both checks would try to write, and fail here.
        return _reading(extra or (lambda study: {}))(
            plain.replace("{", "{{").replace("}", "}}"),  # Optuna formats the URL
            engine_kwargs=_read_only(address),
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
    except StorageInternalError as error:
        raise InputError(f"the database has no Optuna study to show: {error.__cause__}") from error


def _reading(extra: Callable[[str], Attributes]) -> type[RDBStorage]:
    """Optuna's storage, with `extra` added to each study."""
    from optuna.storages import RDBStorage
    from optuna.study._frozen import FrozenStudy

    class Reading(RDBStorage):
        def get_all_studies(self) -> list[FrozenStudy]:
            studies = super().get_all_studies()
            for study in studies:
                study.system_attrs |= extra(study.study_name)
            return studies

        def get_study_system_attrs(self, study_id: int) -> Attributes:
            name = self.get_study_name_from_id(study_id)
            return super().get_study_system_attrs(study_id) | extra(name)

    return Reading


def _read_only(address: URL) -> dict[str, Any]:
    """Options that make SQLAlchemy's connections read-only."""
    from sqlalchemy.pool import NullPool

    if address.get_backend_name() == "sqlite":
        file = f"file:{quote(str(Path(address.database or '').resolve()))}?mode=ro"
        # A URL of SQLAlchemy's would decode the path once more.
        return {"creator": lambda: sqlite3.connect(file, uri=True, check_same_thread=False)}
    asked = address.query.get("options", ())  # the address may have its own options
    options = [asked] if isinstance(asked, str) else asked
    return {
        "connect_args": {"options": " ".join([*options, READ_ONLY])},
        "poolclass": NullPool,  # none is stale after the server was restarted
        "hide_parameters": True,
    }


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on a loopback address; port 0 takes any free port.

    Raises:
        InputError: the host is not this machine's loopback, or the port is taken.
    """
    if host not in LOOPBACK:
        raise InputError(
            f"--host: '{host}' is not a loopback address (127.0.0.1, localhost, ::1): the "
            "dashboard has no login; from elsewhere use ssh -L 8080:127.0.0.1:8080"
        )
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1" if host == "localhost" else host, port))
        listener.listen()  # early requests wait from here on
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"--port: {port} cannot be used ({error}); --port 0 takes a free one"
        ) from error
    return listener


def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, which closes connections that wait and send no request.

    A connection without a whole request is closed after HEADER_SECONDS, or at once, the oldest
    first, if its client has more than MOST_WAITING of them. So a client that opens many connections
    and sends nothing does not block others.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    waiting: dict[Waits, asyncio.TimerHandle] = {}  # the oldest first

    class Waits(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._go_on()

        def on_response_complete(self) -> None:
            before = self.cycle
            super().on_response_complete()
            if self.cycle is before and not self.transport.is_closing():
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._go_on()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._go_on()
            mine = [connection for connection in waiting if connection._host() == self._host()]
            waiting[self] = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
            if len(mine) >= MOST_WAITING:
                mine[0]._go_on()
                mine[0].transport.abort()

        def _go_on(self) -> None:
            timer = waiting.pop(self, None)
            if timer is not None:
                timer.cancel()

        def _host(self) -> str:
            return self.client[0] if self.client else ""

    return Waits


def serve(
    app: Application,
    listener: socket.socket,
    *,
    most: int = 64,
    certificate: Path | None = None,
    key: Path | None = None,
    over: Callable[[], bool] | None = None,
) -> None:
    """Serves until the process is interrupted, or until `over` is true; it is asked each second.

    Args:
        most: connections at once.
        certificate, key: files of TLS.
    """
    import uvicorn

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        lifespan="off",
        http=_protocol(),
        ws="none",
        server_header=False,
        limit_concurrency=most,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def ask(over: Callable[[], bool]) -> None:
        while not over():
            time.sleep(1.0)
        server.should_exit = True

    if over is not None:
        threading.Thread(target=ask, args=(over,), daemon=True).start()
    server.run(sockets=[listener])
