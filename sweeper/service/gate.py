"""What every request must pass before it is routed: host, origin, size, token.

The checked path and host are those of the routed request. A page in any browser tab can send
requests to a loopback address, so loopback protects nothing: every route but the login needs a
token, and a request that changes something by a browser's cookie must come from our own page. A
link is a token that shows the page of one sweep. An answer that lasts ends with its token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from sweeper.errors import SweeperError
from sweeper.service.access import Access

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "sweeper_token"
LINK_COOKIE = "sweeper_link_"  # and the link's id
LINK = "/link/"  # and the link's text: it becomes a cookie
MOST_LINKS = 20  # cookies of links that are looked at
AGAIN_SECONDS = 10.0  # between two looks at the token of an answer that lasts
SAFE = frozenset({"GET", "HEAD"})
MOST_BYTES = 400_000  # of a request's body: a spec as JSON, and what goes with it
# Who follows a link of a message comes without the strict cookie, and once more with it.
COME_AGAIN = (
    '<!doctype html><html lang="en"><title>Sweeper</title><meta http-equiv="refresh" content="0">'
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """An ASGI application that passes on only requests that may reach a route.

    Args:
        hosts: values of the Host header that name this server.
        known: a token's text -> what it allows, or None.
        login: the path that needs no token, beside links.
    """

    def __init__(
        self,
        app: Application,
        *,
        hosts: frozenset[str],
        known: Callable[[str], Access | None],
        login: str = "/login",
        secure: bool = False,
    ) -> None:
        self._app, self._hosts, self._known, self._login = app, hosts, known, login
        scheme = "https" if secure else "http"
        self._origins = frozenset(f"{scheme}://{host}" for host in hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        try:
            refused = await self._refuse(scope)
        except SweeperError as error:  # the database does not say whose token it is
            refused = _no(503, *error.lines)
        if refused is not None:
            await refused(scope, receive, send)
            return
        who: Access | None = scope.get("state", {}).get("who")
        last = _guarded(send) if who is None else self._watched(who, _guarded(send))
        await self._app(scope, _limited(receive), last)

    def _watched(self, who: Access, send: Send) -> Send:
        """Breaks an answer off once its token is no longer valid."""
        looked = time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal looked
            if message.get("more_body") and time.monotonic() - looked >= AGAIN_SECONDS:
                looked = time.monotonic()
                if not await run_in_threadpool(self._valid, who.text):
                    await send({"type": "http.response.body", "body": b""})
                    raise ConnectionResetError("the token is no longer valid")
            await send(message)

        return watched

    def _valid(self, text: str) -> bool:
        """Whether a token is known to be valid now."""
        try:
            return self._known(text) is not None
        except SweeperError:
            return False

    async def _refuse(self, scope: Message) -> Response | None:
        """The answer to a request that may not pass; notes in the scope who asks."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return _no(400, "this server answers to its own name only")
        origins = _values(scope, b"origin")
        if any(origin not in self._origins for origin in origins):
            return _no(403, "another site's page may not use this server")
        if any(
            int(size) > MOST_BYTES for size in _values(scope, b"content-length") if size.isdigit()
        ):
            return _no(413, f"too large: at most {MOST_BYTES} bytes")
        if scope["path"] == self._login or scope["path"].startswith(LINK):
            return None
        texts, by_cookie = _tokens(scope)
        who = await run_in_threadpool(self._access, scope["path"], texts)
        if who is None and _for_people(scope) and b"cross-site" in _fetched(scope):
            return Response(COME_AGAIN, 200, {**HEADERS, "content-type": "text/html"})
        if who is None and _for_people(scope):
            return RedirectResponse(self._login, 303, HEADERS)
        if who is None:
            return _no(
                401, "no valid token: sweeper login URL", headers={"www-authenticate": "Bearer"}
            )
        if not who.may_read(scope["path"]) or (who.sweep and scope["method"] not in SAFE):
            return _no(403, f"this link shows the page of sweep {who.sweep!r}, and nothing else")
        if by_cookie and scope["method"] not in SAFE and not origins:
            return _no(403, "a browser's request must say where it comes from")
        scope.setdefault("state", {})["who"] = who
        return None

    def _access(self, path: str, texts: list[str]) -> Access | None:
        """The first that is valid, of links the first that shows this path."""
        found = [who for who in map(self._known, texts) if who is not None]
        return next((who for who in found if who.may_read(path)), found[0] if found else None)


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _for_people(scope: Message) -> bool:
    """Whether a browser wants to show a page."""
    wants = any("text/html" in value for value in _values(scope, b"accept"))
    return wants and scope["method"] == "GET" and not scope["path"].startswith("/api/")


def _fetched(scope: Message) -> list[bytes]:
    """Where a browser says that the request comes from."""
    return [value for key, value in scope["headers"] if key.lower() == b"sec-fetch-site"]


def _tokens(scope: Message) -> tuple[list[str], bool]:
    """The tokens of a request, a person's before those of links; whether cookies have them."""
    for value in _values(scope, b"authorization"):
        kind, _, text = value.partition(" ")
        return ([text.strip()] if kind.lower() == "bearer" else []), False
    found: dict[str, str] = {}
    for value in _values(scope, b"cookie"):
        try:
            found |= {name: one.value for name, one in SimpleCookie(value[:4096]).items()}
        except CookieError:
            continue
    links = [text for name, text in found.items() if name.startswith(LINK_COOKIE)]
    newest = links[::-1][:MOST_LINKS]  # browsers send the newest last
    return [*([found[COOKIE]] if COOKIE in found else []), *newest], True


def _no(status: int, *lines: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"lines": list(lines)}, status, {**HEADERS, **(headers or {})})


def _limited(receive: Receive) -> Receive:
    """Ends a body that is longer than its header said or than may be."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > MOST_BYTES else message

    return limited


def _guarded(send: Send) -> Send:
    """Adds the gate's headers, where the application has not set its own."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {key.lower() for key, _ in message.get("headers", ())}
            added = [
                (name.encode(), value.encode())
                for name, value in HEADERS.items()
                if name.encode() not in there
            ]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return guarded
