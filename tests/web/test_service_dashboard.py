"""Optuna's dashboard of a service: its login, its gate, reading alone, and no dead buttons."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import HOST, ask
from sites import Site
from store_samples import new_sweep

from sweeper.service.dashboard import application
from sweeper.service.gate import COOKIE
from sweeper.store.study import storage_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("site"))
    yield found
    found.store.close()


@pytest.fixture(scope="module")
def app(site: Site) -> Any:
    url = f"sqlite:///{site.store.database.address.path}"
    hosts = frozenset({HOST})
    return application(site.store, url, port=8090, hosts=hosts, known=site.desk.known, secure=False)


WRITING = [
    ("POST", "/api/studies"),
    ("DELETE", "/api/studies/1"),
    ("POST", "/api/studies/1/rename"),
    ("PUT", "/api/studies/1/note"),
    ("POST", "/api/trials/1/tell"),
    ("POST", "/api/trials/1/user-attrs"),
    ("POST", "/api/studies/1/1/skip"),
    ("PUT", "/api/studies/1/1/note"),
    ("POST", "/api/studies/1/preference"),
    ("POST", "/api/artifacts/1"),
    ("DELETE", "/api/artifacts/1/x"),
]


def test_every_role_reads_and_nobody_writes(site: Site, app: Any) -> None:
    """Without a token nothing; a link to one sweep shows no study."""
    reading = ["/dashboard", "/dashboard/studies/1", "/api/studies", "/api/meta"]
    site.store.create_sweep(new_sweep("plain"))
    link = site.ask("root", "POST", "/sweeps/plain/links", {"days": 1}).json["path"][6:]
    for path in reading:
        for who in ("eve", "ann", "root"):
            assert ask(app, "GET", path, token=site.tokens[who]).status == 200, (path, who)
        assert ask(app, "GET", path).status == 401
        assert ask(app, "GET", path, token=link).status == 403
        foreign = {"origin": "https://evil.example"}
        assert ask(app, "GET", path, token=site.tokens["eve"], headers=foreign).status == 403
    for (method, path), who in itertools.product(WRITING, ("eve", "root")):
        for more in ({}, {"x-http-method-override": method}):
            answer = ask(app, method, path, {}, token=site.tokens[who], headers=more)
            assert answer.status == 405, (method, path, who)
        again = ask(app, "GET", path, token=site.tokens[who], headers={"x-http-method": method})
        assert again.status != 500
    with storage_of(f"sqlite:///{site.store.database.address.path}") as storage:
        assert storage.get_all_studies() == []


def test_a_person_comes_in_by_the_form(site: Site, app: Any) -> None:
    """And is sent there without a token."""
    sent = ask(app, "GET", "/dashboard", headers={"accept": "text/html"})
    assert (sent.status, sent.headers["location"]) == (303, "/login")
    assert ask(app, "GET", "/login").status == 200
    entered = ask(app, "POST", "/login", raw=f"token={site.tokens['eve']}".encode())
    assert entered.status == 303
    cookie = {"cookie": f"{COOKIE}={site.tokens['eve']}"}
    assert ask(app, "GET", "/dashboard", headers=cookie).status == 200


def test_its_page_is_told_to_hide_what_only_writes(site: Site, app: Any) -> None:
    """By a style sheet of ours, under the page's own policy; the page's length is right."""
    answer = ask(app, "GET", "/dashboard", token=site.tokens["eve"])
    assert b'<link rel="stylesheet" href="/sweeper-read-only.css"></head>' in answer.body
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    sheet = ask(app, "GET", "/sweeper-read-only.css", token=site.tokens["eve"])
    assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css")


def test_a_sweep_that_comes_later_has_its_report(
    site: Site, app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The names are read again after some seconds."""
    from sweeper import dashboard

    names: list[str] = []
    reports = dashboard.Reports(lambda: names, lambda name: f"report of {name}")
    monkeypatch.setattr(dashboard, "NAMES_SECONDS", 0.0)
    assert reports.attributes("later") == {}
    names.append("later")
    [key] = reports.attributes("later")
    assert reports.open_reader(key.removeprefix("artifacts:")).read() == b"report of later"
