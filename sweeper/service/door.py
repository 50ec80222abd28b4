"""The way of a browser into the service: a form for a token, which becomes a cookie.

The form needs no script. The cookie is read by no script, and sent by no other site's page.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sweeper.service.access import Access
from sweeper.service.gate import COOKIE

PATH = "/login"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sweeper</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 30em; margin: 15vh auto; padding: 0 1em }}
input, button {{ font: inherit; padding: .4em .6em; width: 100%; box-sizing: border-box }}
button {{ margin-top: .6em }}
</style></head>
<body><main><h1>Sweeper</h1>
<form method="post" action="/login">
<input name="user" autocomplete="username" value="sweeper" hidden>
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button>Log in</button>
</form><p role="status">{said}</p></main></body></html>
"""


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
        if known(text.strip()) is None:
            return _page("This token is not valid.", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, text.strip(), httponly=True, samesite="strict", secure=secure, path="/"
        )
        return answer

    return [Route(PATH, form, methods=["GET"]), Route(PATH, enter, methods=["POST"])]


def _page(said: str, status: int = 200) -> Response:
    # Under `no-referrer` a browser would send the form with `Origin: null`, as a foreign page does.
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(PAGE.format(said=said), status, headers=headers)
