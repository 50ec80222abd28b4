"""A real browser logs in to the service and sees the live pages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from store_samples import planned
from visits import HANG_MS, chromium

from sweeper.service.access import new_token
from sweeper.service.desk import Desk
from sweeper.service.drivers import ServiceFolder
from sweeper.service.gate import Gate
from sweeper.service.routes import application
from sweeper.service.serving import Listening
from sweeper.store import Store
from sweeper.store.accounts import Accounts
from sweeper.store.service_records import Role
from sweeper.watch.routes import Watcher
from sweeper.watch.source import WatchedDatabase


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a service with a sweep, and a reader's token."""
    url = f"sqlite:///{tmp_path}/s.db"
    with Store.open(url, create=True) as store:
        planned(store)
        checker: Any = None
        desk = Desk(store, checker=checker, folder=ServiceFolder(tmp_path))
        token, _ = new_token(
            Accounts(store.database), label="", owner="eve", role=Role.READER, days=None, who="t"
        )
        listening = Listening(port=0)
        with listening.listen() as listener:
            port = listener.getsockname()[1]
            watcher = Watcher(WatchedDatabase(url, hosts=True))
            routes: Any = application(desk, watcher)
            gate: Any = Gate(routes, hosts=listening.hosts(port), known=desk.known)
            with Running(gate, listener):
                yield f"http://127.0.0.1:{port}", token
            watcher.close()


class Running:
    """A server in a thread."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


def test_a_browser_logs_in_and_sees_the_sweeps(served: tuple[str, str]) -> None:
    """By the form, without a request to elsewhere, without a complaint of the browser."""
    address, token = served
    asked: list[str] = []
    said: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{address}/", timeout=HANG_MS)
        assert page.url == f"{address}/login"
        page.fill("#token", token)
        page.click("button")
        page.wait_for_selector("text=digits", timeout=HANG_MS)
        assert page.url == f"{address}/"
        page.close()
    assert {url for url in asked if not url.startswith((f"{address}/", "data:"))} == set()
    assert said == []
