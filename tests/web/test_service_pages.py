"""A real browser logs in to the service, sees the pages, and uses the forms without scripts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import planted
import pytest
import uvicorn
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Page
from sites import Site
from store_samples import HOLDER
from visits import HANG_MS

from sweeper.cli.app import run
from sweeper.importing import whole
from sweeper.service.gate import COOKIE, Gate
from sweeper.service.routes import application
from sweeper.service.serving import Listening
from sweeper.store.leading import Leading
from sweeper.watch.regions import Around
from sweeper.watch.routes import Watcher
from sweeper.watch.source import WatchedDatabase


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    """The address of a service with a sweep of a terminal, and two that wait."""
    folder: Path = tmp_path_factory.mktemp("served")
    site = Site(folder)
    small = {planted.BATCH: [2, 8]}
    planted.fill(site.store, planted.plan(name="digits", levels=small, replicates=2, epochs=2))
    with ThreadPoolExecutor(1) as thread:  # the browser has an event loop in this one
        for name in ("tiny", "other"):
            thread.submit(site.submit, name=name).result()
        path, body = "/sweeps/other/links", {"days": 1, "label": "reviewer"}
        thread.submit(site.ask, "ann", "POST", path, body).result()
    Leading(site.store.database).take({**HOLDER, "room": [1.0, 0.0]})
    url, listening = f"sqlite:///{folder}/s.db", Listening(port=0)
    with listening.listen() as listener:
        port = listener.getsockname()[1]
        watcher = Watcher(WatchedDatabase(url, hosts=True, around=Around.SERVICE))
        routes: Any = application(site.desk, watcher)
        with Running(Gate(routes, hosts=listening.hosts(port), known=site.desk.known), listener):
            yield f"http://127.0.0.1:{port}", site
        watcher.close()
    site.store.close()


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


def opened(browser: Any, address: str, token: str = "", **settings: Any) -> tuple[Page, list[str]]:
    """A page, and what it asked of other places and complained of."""
    context = browser.new_context(**settings)
    context.set_default_timeout(HANG_MS)
    if token:
        context.add_cookies([{"name": COOKIE, "value": token, "url": address}])
    page, trouble = context.new_page(), list[str]()
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    ours = (f"{address}/", "data:")
    page.on("request", lambda one: one.url.startswith(ours) or trouble.append(one.url))
    return page, trouble


def test_a_browser_logs_in_and_sees_the_sweeps(browser: Any, served: tuple[str, Site]) -> None:
    """By the form, without a request to elsewhere, without a complaint of the browser."""
    address, site = served
    page, trouble = opened(browser, address)
    page.goto(f"{address}/")
    assert page.url == f"{address}/login"
    page.fill("#token", site.tokens["eve"])
    page.click("button")
    page.wait_for_selector("text=digits")
    assert page.url == f"{address}/"
    page.click("text=queue")
    page.wait_for_selector("text=tiny")
    assert trouble == []
    page.context.close()


def test_forms_work_without_scripts(browser: Any, served: tuple[str, Site]) -> None:
    """From the login to a stop, a refused change, a link, and the way out."""
    address, site = served
    page, trouble = opened(browser, address, java_script_enabled=False)
    page.goto(f"{address}/queue")
    page.fill("#token", site.tokens["ann"])
    page.click("button")
    page.goto(f"{address}/queue")
    page.click("text=tiny")
    page.click(".actions >> text=Stop")
    page.fill("#why", "wrong data")
    page.click("form.ask button")
    assert page.url == f"{address}/s/tiny/actions"
    assert "ann: wrong data" in page.locator(".events").inner_text()
    page.click(".actions >> text=Extend")
    page.fill("#set", "foo=1")
    page.click("form.ask button")
    assert "foo: no such key" in page.locator("[role=alert]").inner_text()
    assert page.locator("#set").input_value() == "foo=1"
    page.click("text=No, go back")
    page.click(".actions >> text=Share")
    page.click("form.ask button")
    link = page.locator(".card code").first.inner_text()
    page.click("text=Log out")
    assert page.url == f"{address}/login"
    page.goto(link)
    assert page.url == f"{address}/s/tiny"
    assert "Nothing to see yet" in page.locator("main, h1").all_inner_texts()
    assert [one.why for one in site.wishes.events(name="tiny")][1] == "wrong data"
    assert trouble[0].endswith("400 (Bad Request)")  # what was refused
    assert trouble[1].endswith("404 (Not Found)")  # the sweep that waits has no live page yet
    assert len(trouble) == 2
    page.context.close()


def test_axe_finds_nothing_on_pages_with_forms(browser: Any, served: tuple[str, Site]) -> None:
    """Names, contrast and headings, light and dark; no sideways scrolling on a telephone."""
    address, site = served
    paths = [
        "/",
        "/s/tiny",
        "/queue",
        "/s/other/actions",
        "/s/other/actions/clone",
        "/s/other/actions/retry",
    ]
    for scheme, width, rules in (("light", 390, []), ("dark", 1280, ["color-contrast"])):
        view = {"width": width, "height": 800}
        token = site.tokens["ann"]
        page, trouble = opened(
            browser, address, token, color_scheme=scheme, viewport=view, bypass_csp=True
        )
        for path in paths:
            page.goto(f"{address}{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
            options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
            found = page.evaluate("options => axe.run(document, options)", options)
            named = [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found["violations"]]
            assert named == [], (path, scheme)
        [refused] = trouble
        assert refused.endswith("404 (Not Found)")  # /s/tiny: it has no live page before it starts
        page.context.close()


def test_links_and_copies_from_a_terminal(
    served: tuple[str, Site], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweeper link` and `sweeper clone`, over HTTP."""
    address, site = served
    monkeypatch.setenv("SWEEPER_SERVICE", address)
    monkeypatch.setenv("SWEEPER_TOKEN", site.tokens["ann"])
    assert run(["link", "other", "--days", "2", "--label", "a reviewer"]) == 0
    link = capsys.readouterr().out.strip()
    assert link.startswith(f"{address}/link/sweeper_")
    assert run(["link", "other", "--list"]) == 0
    ident = next(
        line.split()[0] for line in capsys.readouterr().out.splitlines() if "a reviewer" in line
    )
    assert link.split("_")[1] == ident
    assert run(["link", "other", "--revoke", ident]) == 0
    assert run(["link", "other", "--days", "0"]) == 2
    assert "days: 0.0" in capsys.readouterr().err
    assert run(["clone", "other", "wide", "--set", "replicates=3", "--json"]) == 0
    assert '"runs": 12' in capsys.readouterr().out
    assert run(["clone", "other", "wide"]) == 2
    assert "is submitted already" in capsys.readouterr().err


def test_an_archive_comes_over_http(
    served: tuple[str, Site], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For the owner and the administrator; a sweep that has not started has none."""
    address, site = served
    monkeypatch.setenv("SWEEPER_SERVICE", address)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEPER_TOKEN", site.tokens["ann"])
    assert run(["archive", "other", "--service", "last"]) == 2
    assert run(["archive", "digits", "--service", "last"]) == 2  # of a terminal, not ann's
    monkeypatch.setenv("SWEEPER_TOKEN", site.tokens["root"])
    assert run(["archive", "digits", "--service", "last"]) == 0
    assert whole.read(tmp_path / "digits.sweep.zip").count("run") == 4
