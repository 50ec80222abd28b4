"""Optuna's dashboard for the users of a service: behind its gate and login, on a port of its own.

Its paths are absolute, so it cannot stand beside the service's pages. Who is logged in on one port
of a host is so on the other, because browsers send a host's cookies to all of its ports.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette

from sweeper import dashboard
from sweeper.service import door
from sweeper.service.access import Access
from sweeper.service.gate import Application, Gate, Message, Receive, Send
from sweeper.store.store import Store
from sweeper.store.study import storage_of

DOORS = (door.PATH, door.LEAVE)


class _DoorBefore:
    """Shows the form for a token beside another application."""

    def __init__(self, doors: Application, app: Application) -> None:
        self._doors, self._app = doors, app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        app = self._doors if scope["path"] in DOORS else self._app
        await app(scope, receive, send)


def application(
    store: Store,
    url: str,
    *,
    port: int,
    hosts: frozenset[str],
    known: Callable[[str], Access | None],
    secure: bool,
) -> Gate:
    """The dashboard behind the gate: reading alone, for every role.

    Args:
        url: of the store's database; Optuna's tables are made there if they are missing.
        hosts: values of the Host header that name this port.
        secure: whether users reach it over TLS.
    """
    with storage_of(url):
        pass
    reports = dashboard.Reports(lambda: [one.name for one in store.sweeps()], partial(_page, store))
    shown = dashboard.application(url, port=port, reports=reports, hosts=hosts)
    doors: Any = Starlette(routes=door.routes(known, secure=secure))
    return Gate(_DoorBefore(doors, shown), hosts=hosts, known=known, secure=secure)


def _page(store: Store, name: str) -> str:
    from sweeper.analysis.frames import load
    from sweeper.report.page import html

    return html(load(store, name))
