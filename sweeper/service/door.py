"""The way of a browser into the service: a form for a token, which becomes a cookie.

The form needs no script. The cookie is read by no script, and sent by no other site's page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sweeper.service.access import Access
from sweeper.service.gate import COOKIE, LINK, LINK_COOKIE

PATH, LEAVE = "/login", "/logout"
LINK_SECONDS = 30 * 86400  # a browser keeps a link at most so long; the server knows when it ends


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 30em; margin: 15vh auto; padding: 0 1em }
input, button { font: inherit; padding: .4em .6em; width: 100%; box-sizing: border-box }
button { margin-top: .6em }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sweeper</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>{style}</style></head>
<body><main><h1>Sweeper</h1>{form}<p role="status">{said}</p></main></body></html>
"""
FORM = """
<form method="post" action="/login">
<input name="user" autocomplete="username" value="sweeper" hidden>
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button>Log in</button>
</form>"""


def routes(known: Callable[[str], Access | None], *, secure: bool) -> list[Route]:
    """The form, and what it sends.

    Args:
        secure: whether browsers reach the service over TLS.
    """

    def form(request: Request) -> Response:
        return _page("A token comes from the service's administrator.")

    async def enter(request: Request) -> Response:
        sent = parse_qs((await request.body()).decode("latin-1"), max_num_fields=4)
        [text] = sent.get("token", [""])[:1]
        who = known(text.strip())
        if who is None or who.sweep is not None:
            return _page("This token is not valid.", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, text.strip(), httponly=True, samesite="strict", secure=secure, path="/"
        )
        return answer

    def leave(request: Request) -> Response:
        answer = RedirectResponse(PATH, 303)
        answer.delete_cookie(COOKIE, path="/", secure=secure, httponly=True, samesite="strict")
        return answer

    def follow(request: Request) -> Response:
        """A link becomes a cookie, which other sites' pages may send too: it changes nothing."""
        text = request.path_params["text"]
        who = known(text)
        if who is None or who.sweep is None:
            return _page("This link is not valid, or no longer.", 404, form="")
        answer = RedirectResponse(f"/s/{who.sweep}", 303)
        answer.set_cookie(
            f"{LINK_COOKIE}{who.token}", text, max_age=LINK_SECONDS, httponly=True,
            samesite="lax", secure=secure, path="/",
        )  # fmt: skip
        return answer

    return [
        Route(PATH, form, methods=["GET"]),
        Route(PATH, enter, methods=["POST"]),
        Route(LEAVE, leave, methods=["POST"]),
        Route(f"{LINK}{{text}}", follow, methods=["GET"]),
    ]


def _page(said: str, status: int = 200, *, form: str = FORM) -> Response:
    # Under `no-referrer` a browser would send the form with `Origin: null`, as a foreign page does.
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(PAGE.format(style=STYLE, form=form, said=said), status, headers=headers)
