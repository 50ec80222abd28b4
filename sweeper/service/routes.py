"""The HTTP API: each route with its method and the role that it needs, in one table.

The API writes wishes and reads facts (`store.wishes`); it never touches a lease. Errors are the
lines of the command line, as JSON: `{"lines": [...]}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeper.errors import InputError, SweeperError
from sweeper.service import actions, door
from sweeper.service.access import Access
from sweeper.service.desk import Desk, Forbidden, Unknown
from sweeper.store.service_records import Role, Verb
from sweeper.store.wishes import NotYours
from sweeper.watch import routes as pages
from sweeper.watch.routes import Watcher

LOG = logging.getLogger(__name__)
VERSION = 1
ROOT = f"/api/v{VERSION}"
METRICS = "text/plain; version=0.0.4; charset=utf-8"  # of Prometheus
STATUS = {Forbidden: 403, NotYours: 403, Unknown: 404}

Body = Mapping[str, Any]
Handler = Callable[[Desk, Access, Mapping[str, str], Body], Any]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A route: `handler` gets the desk, who asks, the path's and the query's words, the body."""

    method: str
    path: str
    role: Role
    handler: Handler
    kind: str = "application/json"
    root: str = ROOT

    @property
    def route(self) -> str:
        """The whole path."""
        return f"{self.root}{self.path}"


def _submit(desk: Desk, who: Access, words: Mapping[str, str], body: Body) -> Any:
    return desk.submit(who, body)


def _commanded(verb: Verb) -> Handler:
    def command(desk: Desk, who: Access, words: Mapping[str, str], body: Body) -> Any:
        return desk.command(who, words["name"], verb, body)

    return command


# Each route of the application is here, and no other; a test asks every one of them as everybody.
ENDPOINTS = (
    Endpoint(method="GET", path="/me", role=Role.READER, handler=lambda d, who, w, b: d.me(who)),
    Endpoint(
        method="GET", path="/sweeps", role=Role.READER, handler=lambda d, who, w, b: d.queue(w)
    ),
    Endpoint(method="POST", path="/sweeps", role=Role.SUBMITTER, handler=_submit),
    Endpoint(
        method="GET", path="/sweeps/{name}", role=Role.READER,
        handler=lambda d, who, w, b: d.show(w["name"]),
    ),
    *(
        Endpoint(
            method="POST", path=f"/sweeps/{{name}}/{verb}", role=Role.SUBMITTER,
            handler=_commanded(verb),
        )
        for verb in Verb
    ),
    Endpoint(
        method="POST", path="/sweeps/{name}/clone", role=Role.SUBMITTER,
        handler=lambda d, who, w, b: d.clone(who, w["name"], b),
    ),
    Endpoint(
        method="GET", path="/sweeps/{name}/links", role=Role.SUBMITTER,
        handler=lambda d, who, w, b: d.links(who, w["name"]),
    ),
    Endpoint(
        method="POST", path="/sweeps/{name}/links", role=Role.SUBMITTER,
        handler=lambda d, who, w, b: d.add_link(who, w["name"], b),
    ),
    Endpoint(
        method="DELETE", path="/sweeps/{name}/links/{ident}", role=Role.SUBMITTER,
        handler=lambda d, who, w, b: d.revoke_link(who, w["name"], w["ident"]),
    ),
    Endpoint(
        method="GET", path="/sweeps/{name}/logs", role=Role.READER,
        handler=lambda d, who, w, b: d.logs(w["name"]), kind="text/plain; charset=utf-8",
    ),
    Endpoint(
        method="GET", path="/sweeps/{name}/report", role=Role.READER,
        handler=lambda d, who, w, b: d.report(w["name"]), kind="text/html; charset=utf-8",
    ),
    Endpoint(
        method="GET", path="/sweeps/{name}/archive", role=Role.SUBMITTER,
        handler=lambda d, who, w, b: d.archive(who, w["name"]), kind="application/zip",
    ),
    Endpoint(
        method="GET", path="/sweeps/{name}/best", role=Role.READER,
        handler=lambda d, who, w, b: d.best(w["name"]),
    ),
    Endpoint(
        method="GET", path="/events", role=Role.READER,
        handler=lambda d, who, w, b: d.events(who, w),
    ),
    Endpoint(
        method="GET", path="/tokens", role=Role.ADMIN, handler=lambda d, who, w, b: d.tokens()
    ),
    Endpoint(
        method="POST", path="/tokens", role=Role.ADMIN,
        handler=lambda d, who, w, b: d.add_token(who, b),
    ),
    Endpoint(
        method="DELETE", path="/tokens/{ident}", role=Role.ADMIN,
        handler=lambda d, who, w, b: d.revoke(who, w["ident"]),
    ),
    Endpoint(
        method="GET", path="/owners", role=Role.ADMIN, handler=lambda d, who, w, b: d.owners()
    ),
    Endpoint(
        method="PUT", path="/owners/{owner}", role=Role.ADMIN,
        handler=lambda d, who, w, b: d.set_owner(who, w["owner"], b),
    ),
    Endpoint(
        method="GET", path="/metrics", root="", role=Role.READER, kind=METRICS,
        handler=lambda d, who, w, b: d.metrics(),
    ),
)  # fmt: skip


def application(
    desk: Desk,
    watcher: Watcher | None = None,
    *,
    shared: Watcher | None = None,
    secure: bool = False,
) -> Starlette:
    """The API and, with a watcher, the pages; `gate.Gate` must stand before them.

    Args:
        shared: for who has a link alone; its pages name no machines.
        secure: whether users reach it over TLS.
    """
    routes = [Route(one.route, _endpoint(desk, one), methods=[one.method]) for one in ENDPOINTS]
    if watcher is not None:

        def chosen(request: Request) -> Watcher:
            return watcher if request.state.who.sweep is None else (shared or watcher)

        routes += [*door.routes(desk.known, secure=secure), *actions.routes(desk, secure=secure)]
        routes += pages.routes(chosen)
    return Starlette(routes=routes, exception_handlers={SweeperError: _away, Exception: _broken})


def _endpoint(desk: Desk, one: Endpoint) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        who: Access = request.state.who
        if not who.role.allows(one.role):
            return _lines(403, f"your token's role is {who.role}; this needs {one.role}")
        try:
            body = await _body(request)
            words = {**request.query_params, **request.path_params}
            found = await run_in_threadpool(one.handler, desk, who, words, body)
        except SweeperError as error:
            status = 400 if isinstance(error, InputError) else 503
            return _lines(STATUS.get(type(error), status), *error.lines)
        except ClientDisconnect:
            return _lines(413, "the request is too large, or was broken off")
        except Exception:  # a bug of ours: the log has it, the answer a number to look for
            number = uuid4().hex[:8]
            LOG.exception("internal error %s", number)
            return _bug(number)
        if isinstance(found, str | bytes):
            return Response(found, media_type=one.kind, headers=_page(one.kind))
        return JSONResponse({"version": VERSION, **found})

    return answer


def _away(request: Request, error: Exception) -> Response:
    """The answer to a request for a page while the database does not answer."""
    assert isinstance(error, SweeperError)  # noqa: S101  it is called for no other
    return _lines(503, *error.lines)


def _broken(request: Request, error: Exception) -> Response:
    """The answer to a request for a page that has met a bug of ours."""
    number = uuid4().hex[:8]
    LOG.error("internal error %s", number)  # the server logs the error itself
    return _bug(number)


def _bug(number: str) -> Response:
    return _lines(500, f"internal error {number}; the server's log says more")


def _page(kind: str) -> dict[str, str]:
    """The report is a page with a policy of its own inside; it may run its own two scripts."""
    if not kind.startswith("text/html"):
        return {}
    return {"content-security-policy": "frame-ancestors 'none'; base-uri 'none'"}


async def _body(request: Request) -> Body:
    if request.method not in ("POST", "PUT"):
        return {}
    text = await request.body()
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        raise InputError("the body must be JSON") from None
    if not isinstance(found, dict):
        raise InputError("the body must be a JSON object")
    key = request.headers.get("idempotency-key")
    return {**found, **({"key": key} if key else {})}


def _lines(status: int, *lines: str) -> JSONResponse:
    return JSONResponse({"lines": list(lines)}, status)
