"""Asks an ASGI application in this process, as a client with any headers would."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

HOST = "127.0.0.1:8090"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[str]:
        """What an error says."""
        return self.json["lines"]


def ask(
    app: Any,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    raw: bytes | None = None,
    query: str = "",
) -> Answer:
    """The answer to one request; `raw` is a body as it is."""
    sent = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
    given = {"host": HOST, "content-length": str(len(sent))}
    given |= {"authorization": f"Bearer {token}"} if token else {}
    given |= headers or {}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8090), "asgi": {"version": "3.0"},
    }  # fmt: skip
    return asyncio.run(_asked(app, scope, sent))


async def _asked(app: Any, scope: dict[str, Any], body: bytes) -> Answer:
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]}
        for piece in pieces
    ]
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    await app(scope, receive, send)
    start = got[0]
    headers = {key.decode().lower(): value.decode() for key, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(one.get("body", b"") for one in got[1:]))
