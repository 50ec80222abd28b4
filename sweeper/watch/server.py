"""Serves the live pages of one database on this machine, behind the gate of the dashboard."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sweeper.dashboard import Application, ReadOnlyApp, serve
from sweeper.errors import NothingStored
from sweeper.watch.routes import Watcher, application
from sweeper.watch.source import WatchedDatabase

PLACES = ("/s/", "/static/")  # the beginnings of paths that are served, beside /
MOST_CONNECTIONS = 2000
NICE = 19  # a page never takes a processor from a sweep
LINGER_S = 10.0  # after a launch: a page that is opened again finds the end
ASKED = "Open the address that `sweeper watch` printed, with its token.\n"


class TokenGate:
    """Lets in who knows the token: by `?token=` once, then by a cookie of this port.

    Args:
        cookie: its name; browsers send a host's cookies to all of its ports.
    """

    def __init__(self, app: ASGIApp, *, token: str, cookie: str) -> None:
        self._app, self._token, self._cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if self._is(request.query_params.get("token")):
            rest = request.url.remove_query_params("token")
            path = f"{rest.path}?{rest.query}" if rest.query else rest.path
            answer = RedirectResponse(path, 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            await answer(scope, receive, send)
        elif self._is(request.cookies.get(self._cookie)):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(ASKED, 401)(scope, receive, send)

    def _is(self, text: str | None) -> bool:
        return text is not None and hmac.compare_digest(text.encode(), self._token.encode())


def gated(watcher: Watcher, *, port: int, token: str = "") -> Application:
    """The pages behind the gate: this machine's own address, reading methods, known paths."""
    app: ASGIApp = application(watcher)
    if token:
        app = TokenGate(app, token=token, cookie=f"sweeper_watch_{port}")
    return ReadOnlyApp(app, port=port, places=PLACES)  # type: ignore[arg-type]


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def run(url: str, listener: socket.socket, *, token: str, where: str) -> None:
    """Serves the pages until the process is interrupted."""
    _serve(WatchedDatabase(url, hosts=bool(token), where=where), listener, token=token)


def run_beside(fd: int, *, launch: int) -> None:
    """Serves the pages beside the launch that started this process.

    It waits for the launch's database, and ends some seconds after the launch if nobody reads.

    Args:
        fd: of a socket that listens; the database's address is in the environment, which other
            users cannot read.
        launch: its process, the parent of this one.
    """
    with socket.socket(fileno=fd) as listener:
        source = _awaited(os.environ["SWEEPER_STORAGE"], launch)
        if source is not None:
            _serve(source, listener, token="", launch=launch)


def _awaited(url: str, launch: int) -> WatchedDatabase | None:
    """The database once it is there; None if the launch has ended before."""
    while os.getppid() == launch:
        try:
            return WatchedDatabase(url)
        except NothingStored:
            time.sleep(0.5)
    return None


def _serve(
    source: WatchedDatabase, listener: socket.socket, *, token: str, launch: int | None = None
) -> None:
    os.nice(NICE)
    watcher = Watcher(source)
    app = gated(watcher, port=listener.getsockname()[1], token=token)
    over = Over(watcher, launch) if launch is not None else None
    try:
        serve(app, listener, most=MOST_CONNECTIONS, over=over)
    finally:
        watcher.close()


class Over:
    """Whether the launch has ended, and nobody has read for `LINGER_S` seconds since then."""

    def __init__(self, watcher: Watcher, launch: int) -> None:
        self._watcher, self._launch = watcher, launch
        self._quiet_since: float | None = None

    def __call__(self) -> bool:
        if os.getppid() == self._launch or self._watcher.readers:
            self._quiet_since = None
            return False
        now = time.monotonic()
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        return now - self._quiet_since > LINGER_S
