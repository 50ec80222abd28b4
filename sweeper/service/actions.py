"""What a browser may change: forms that need no script, each with a page that asks first.

Three things protect them beside the token: the gate wants the page's own origin, each form has a
word that only a page made for this token can have, and its key makes a form that is sent twice the
same wish. An action is written to the log of events by the same methods as the API's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sweeper.errors import InputError, SweeperError
from sweeper.service import bodies, pages
from sweeper.service.access import Access
from sweeper.service.desk import Desk, Forbidden, Unknown
from sweeper.store.service_records import Role, Verb
from sweeper.store.wishes import NotYours

MOST_FIELDS = 64
Sent = Mapping[str, Sequence[str]]
Handler = Callable[[Desk, Access, Request], Awaitable[Response]]


def routes(desk: Desk, *, secure: bool) -> list[Route]:
    """The routes of the forms.

    Args:
        secure: whether browsers reach the service over TLS.
    """
    scheme = "https" if secure else "http"

    async def act(desk: Desk, who: Access, request: Request) -> Response:
        return await _act(desk, who, request, here=f"{scheme}://{request.headers['host']}")

    return [
        Route("/queue", _answered(desk, _queue), methods=["GET"]),
        Route("/s/{name}/actions", _answered(desk, _overview), methods=["GET"]),
        Route("/s/{name}/actions/{verb}", _answered(desk, _ask), methods=["GET"]),
        Route("/s/{name}/actions/{verb}", _answered(desk, act), methods=["POST"]),
    ]


def _answered(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A handler whose errors are pages."""

    async def answer(request: Request) -> Response:
        who: Access = request.state.who
        try:
            return await handler(desk, who, request)
        except SweeperError as error:
            return _refused(who, error.lines, _status(error))
        except ClientDisconnect:
            return _refused(who, ["the form is too large, or was broken off"], 413)

    return answer


def _status(error: SweeperError) -> int:
    match error:
        case Forbidden() | NotYours():
            return 403
        case Unknown():
            return 404
        case InputError():
            return 400
    return 503


def _refused(who: Access, lines: Sequence[str], status: int) -> Response:
    return HTMLResponse(pages.refused(who, lines), status, headers=pages.HEADERS)


async def _queue(desk: Desk, who: Access, request: Request) -> Response:
    skip = bodies.number(request.query_params, "skip", 0)
    words = {"skip": str(skip), "most": str(pages.ROWS)}
    found = await run_in_threadpool(desk.queue, words)
    me = await run_in_threadpool(desk.me, who)
    return HTMLResponse(pages.queue(found, who, me=me, skip=skip), headers=pages.HEADERS)


async def _overview(desk: Desk, who: Access, request: Request) -> Response:
    return await _shown(desk, who, request.path_params["name"])


async def _shown(desk: Desk, who: Access, name: str, *, made: str = "") -> Response:
    found = await run_in_threadpool(desk.show, name)
    links: list[dict[str, Any]] = []
    if pages.LINK in pages.offered(found, who):
        links = (await run_in_threadpool(desk.links, who, name))["links"]
    html = pages.overview(found, who, links, made=made)
    return HTMLResponse(html, headers=pages.HEADERS)


async def _ask(desk: Desk, who: Access, request: Request) -> Response:
    name, verb = _checked(who, request)
    found = await run_in_threadpool(desk.show, name)
    given = {key: [value] for key, value in request.query_params.items()}
    html = pages.form(name, verb, who, row=found["submission"], given=given)
    return HTMLResponse(html, headers=pages.HEADERS)


async def _act(desk: Desk, who: Access, request: Request, *, here: str) -> Response:
    """Does what the form asks for; what is wrong is shown in the form.

    Args:
        here: the service's own address, whose name the gate has checked.
    """
    name, verb = _checked(who, request)
    text = (await request.body()).decode("utf-8", "replace")
    try:
        sent = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InputError(f"the form has more than {MOST_FIELDS} fields") from None
    if not who.proves(f"{verb} {name}", _word(sent, "proof")):
        raise Forbidden("this form was not made for you here; open the page again")
    try:
        answer = await run_in_threadpool(_done, desk, who, name, verb, sent)
    except (Forbidden, NotYours, Unknown):
        raise
    except InputError as error:
        found = await run_in_threadpool(desk.show, name)
        html = pages.form(name, verb, who, row=found["submission"], given=sent, lines=error.lines)
        return HTMLResponse(html, 400, headers=pages.HEADERS)
    if verb == pages.LINK:
        return await _shown(desk, who, name, made=f"{here}{answer['path']}")
    target = answer["name"] if verb == pages.CLONE else name
    return RedirectResponse(f"/s/{target}/actions", 303)


def _checked(who: Access, request: Request) -> tuple[str, str]:
    """The sweep and the action of a request.

    Raises:
        Unknown: there is no such action.
        Forbidden: the token only reads.
    """
    name, verb = request.path_params["name"], request.path_params["verb"]
    if verb not in pages.ACTIONS:
        raise Unknown(f"no action {verb!r}")
    if not who.role.allows(Role.SUBMITTER):
        raise Forbidden(f"your token's role is {who.role}; this needs {Role.SUBMITTER}")
    return name, verb


def _done(desk: Desk, who: Access, name: str, verb: str, sent: Sent) -> dict[str, Any]:
    """The answer of the desk to what a form has sent."""
    body: dict[str, Any] = {"why": _word(sent, "why"), "key": _word(sent, "key")}
    match verb:
        case Verb.RETRY:
            body["reasons"] = list(sent.get("reasons", ()))
            if hours := _word(sent, "hours").strip():
                body["hours"] = _number(hours)
        case Verb.EXTEND:
            body["set"] = _lines(sent)
        case Verb.PRIORITY:
            body["priority"] = _word(sent, "priority")
        case pages.CLONE:
            changes = {"name": _word(sent, "name").strip(), "set": _lines(sent)}
            return desk.clone(who, name, {**body, **changes, "priority": _word(sent, "priority")})
        case pages.LINK:
            body |= {"days": _number(_word(sent, "days")), "label": _word(sent, "label")}
            return desk.add_link(who, name, body)
        case pages.REVOKE:
            return desk.revoke_link(who, name, _word(sent, "ident"))
        case _:
            pass
    return desk.command(who, name, Verb(verb), body)


def _word(sent: Sent, name: str) -> str:
    [found] = sent.get(name, [""])[:1]
    return found


def _lines(sent: Sent) -> list[str]:
    """The lines of the field for changes that are not empty."""
    return [line.strip() for line in _word(sent, "set").splitlines() if line.strip()]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
