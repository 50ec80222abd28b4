"""What a browser may change: each form as everybody, what protects it, and links to one sweep."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import planted
import pytest
from asking import HOST, Answer, ask
from playing import Play
from sites import ORIGIN, Site
from store_samples import HOLDER, planned

from sweeper.service import gate
from sweeper.service.access import FORM
from sweeper.service.gate import COOKIE, Gate
from sweeper.service.pages import ACTIONS, CLONE, LINK, REVOKE
from sweeper.service.routes import ROOT
from sweeper.store.leading import Leading
from sweeper.store.outbox import Outbox
from sweeper.store.service_records import Role, State, SubmissionStanding, Verb

HIDDEN = re.compile(r'name="(proof|key)" value="([^"]+)"')
FILLED = {
    Verb.PRIORITY: {"priority": "high"},
    Verb.EXTEND: {"set": "replicates=5\r\n\r\n"},
    CLONE: {"name": "copy", "set": "replicates=3", "priority": "low"},
    LINK: {"days": "7", "label": "reviewer"},
    REVOKE: {"ident": "0" * 12},
}


class Browser:
    """A person's browser: it sends a cookie, and forms as pages have them."""

    def __init__(self, app: Any, text: str, *, cookie: str = COOKIE) -> None:
        self._app, self._cookie = app, f"{cookie}={text}"

    def see(self, path: str, query: str = "") -> Answer:
        return ask(self._app, "GET", path, headers={"cookie": self._cookie}, query=query)

    def send(self, path: str, form: dict[str, str], *, origin: str | None = ORIGIN) -> Answer:
        headers = {"cookie": self._cookie, **({} if origin is None else {"origin": origin})}
        return ask(self._app, "POST", path, raw=urlencode(form).encode(), headers=headers)

    def act(self, sweep: str, verb: str, /, **form: str) -> Answer:
        """Opens the form, and sends it with these values."""
        path = f"/s/{sweep}/actions/{verb}"
        return self.send(path, {**hidden(self.see(path)), **form})


def hidden(answer: Answer) -> dict[str, str]:
    return dict(HIDDEN.findall(answer.body.decode()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.store.close()


@pytest.fixture
def app(site: Site) -> Iterator[Any]:
    with site.pages() as made:
        yield made


def browser(site: Site, app: Any, who: str) -> Browser:
    return Browser(app, site.tokens[who])


def test_every_form_as_everybody(site: Site, app: Any) -> None:
    """A reader sees the state and no form; another owner may only copy; the owner may do all."""
    site.submit()
    Leading(site.store.database).take(HOLDER)
    for verb in ACTIONS:
        path, form = f"/s/tiny/actions/{verb}", FILLED.get(verb, {})
        owner = browser(site, app, "ann")
        proven = {**hidden(owner.see(path)), **form}
        assert set(proven) >= {"proof", "key"}, verb
        assert ask(app, "POST", path, raw=urlencode(proven).encode()).status == 401, verb
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            assert ask(app, method, path, token=site.tokens["ann"]).status == 405, (verb, method)
        reader, other = browser(site, app, "eve"), browser(site, app, "bob")
        assert reader.see(path).status == 403, verb
        assert reader.send(path, proven).status == 403, verb
        assert other.send(path, proven).status == 403, verb  # the proof is another one's
        status = other.act("tiny", verb, **form).status
        assert status == (303 if verb == CLONE else 403), verb
    for verb in (Verb.STOP, Verb.RESUME, Verb.RETRY, Verb.EXTEND, Verb.PRIORITY, Verb.CANCEL):
        answer = browser(site, app, "ann").act("tiny", verb, **FILLED.get(verb, {}), why="my own")
        assert (answer.status, answer.headers["location"]) == (303, "/s/tiny/actions"), verb
    commands = site.wishes.commands("tiny")
    assert [(one.verb, one.who) for one in commands] == [
        (verb, "ann") for verb in ("stop", "resume", "retry", "extend", "priority", "cancel")
    ]
    events = site.wishes.events(name="tiny")
    assert [(one.what, one.why) for one in events[1:]] == [(one.verb, "my own") for one in commands]
    one = site.wishes.submission("tiny")
    assert one is not None
    assert (one.wanted, one.priority, one.overrides) == ("cancelled", "high", ("replicates=5",))
    copy = site.wishes.submission("copy")
    assert copy is not None
    assert (copy.owner, copy.priority, copy.overrides) == (
        "bob", "low", ("replicates=3", "name=copy"),
    )  # fmt: skip
    [made] = site.wishes.events(name="copy")
    assert (made.who, made.what, made.why) == (
        "bob", "submit", "priority low, a changed copy of tiny",
    )  # fmt: skip


# Each page of the service: its path, and what a reader gets from it.
PAGES = {
    "/login": 200, "/logout": 405, "/link/{text}": 404, "/metrics": 404,
    "/queue": 200, "/s/{name}/actions": 200, "/s/{name}/actions/{verb}": 403,
    "/": 200, "/s/{name}": 200, "/s/{name}/stream": None, "/s/{name}/figures": 200,
    "/s/{name}/runs/{run:int}": 404, "/s/{name}/report": 200, "/static/{version}/{name}": 404,
}  # fmt: skip
OPEN = ("/login", "/link/{text}")  # without a token


def test_every_page_is_known_and_guarded(site: Site, app: Any, playing: str) -> None:
    """All that the application serves beside the API, without a token, as a reader, from elsewhere.

    A page that is not listed here fails the test.
    """
    served = {one.path for one in app._app.routes if not one.path.startswith(ROOT)}
    assert served == set(PAGES)
    for path, status in PAGES.items():
        words = {"{name}": playing, "{text}": "x", "{verb}": "stop", "{run:int}": "0"}
        asked = path.replace("{version}", "x")
        for word, value in words.items():
            asked = asked.replace(word, value)
        if path not in OPEN:
            assert ask(app, "GET", asked).status == 401, path
            if status is not None:
                assert ask(app, "GET", asked, token=site.tokens["eve"]).status == status, path
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            for origin in ("https://evil.example", "null"):
                found = ask(
                    app, method, asked, token=site.tokens["root"], headers={"origin": origin}
                )
                assert found.status == 403, (path, method)
                assert not [one for one in found.headers if one.startswith("access-control")]
            if method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
                override = {"x-http-method-override": method}
                refused = ask(app, method, asked, token=site.tokens["root"], headers=override)
                assert refused.status == 405, (path, method)
    sent: list[Any] = []

    async def take(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, None, take))
    assert sent == ["websocket.close"]


def test_a_form_of_another_page_changes_nothing(site: Site, app: Any) -> None:
    """The origin must be ours, and the form's word the one for this token, action and sweep."""
    site.submit()
    site.submit(name="other")
    ann = browser(site, app, "ann")
    path = "/s/tiny/actions/stop"
    good = hidden(ann.see(path))
    for origin in ("https://evil.example", "null", None):
        assert ann.send(path, good, origin=origin).status == 403, origin
    foreign = [
        hidden(ann.see("/s/tiny/actions/cancel")),
        hidden(ann.see("/s/other/actions/stop")),
        hidden(browser(site, app, "root").see(path)),
        {"key": "a"},
        {"proof": "", "key": "a"},
        {"proof": "é", "key": "a"},
    ]
    for form in foreign:
        assert ann.send(path, form).status == 403, form
    assert site.wishes.commands("tiny") == []
    assert ann.send(path, good).status == 303
    assert ann.send(path, good).status == 303  # sent twice: one wish
    assert len(site.wishes.commands("tiny")) == 1


def test_what_is_wrong_in_a_form_is_shown_in_it(site: Site, app: Any) -> None:
    """With what was written there, escaped; nothing is stored."""
    site.submit()
    ann = browser(site, app, "ann")
    for verb, form, shown in (
        ("extend", {"set": "foo=<b>"}, "foo: no such key"),
        ("extend", {"set": " "}, "set: nothing is given"),
        ("extend", {"set": "data.path=/etc/passwd"}, "data.path"),
        ("clone", {"name": "", "priority": "low"}, "name:"),
        ("clone", {"name": "tiny", "priority": "low"}, "is submitted already"),
        ("priority", {"priority": "first"}, "is not known"),
        ("link", {"days": "0"}, "days: 0.0: a number of days above 0"),
        ("link", {"days": "soon"}, "days: &#39;soon&#39;"),
        ("retry", {"reasons": "laziness"}, "is not known"),
        ("retry", {"hours": "0"}, "hours: 0.0: a number above 0"),
        ("retry", {"hours": "two"}, "hours: &#39;two&#39;"),
        ("revoke", {"ident": "abc"}, "no link &#39;abc&#39;"),
    ):
        answer = ann.act("tiny", verb, **form)
        text = answer.body.decode()
        assert (answer.status, shown in text, "<b>" in text) == (400, True, False), (verb, text)
    assert ann.see("/s/tiny/actions/launch").status == 404
    assert ann.see("/s/none/actions/stop").status == 404
    assert ann.act("tiny", "stop", why="x" * 500_000).status == 413
    assert len(site.wishes.events(name="tiny")) == 1


def buttons(answer: Answer) -> list[str]:
    return re.findall(r'href="/s/\w+/actions/(\w+)"', answer.body.decode())


def test_a_page_offers_what_makes_sense_now(site: Site, app: Any) -> None:
    """To its reader, in its state; no button that is dead."""
    site.submit()
    ann, path = browser(site, app, "ann"), "/s/tiny/actions"
    for who, there in {
        "ann": ["stop", "extend", "priority", "clone", "link", "cancel"],
        "root": ["stop", "extend", "priority", "clone", "link", "cancel"],
        "bob": ["clone"],
        "eve": [],
    }.items():
        assert buttons(browser(site, app, who).see(path)) == there, who
    ann.act("tiny", "stop")
    assert buttons(ann.see(path))[0] == "resume"
    lead, [one] = Leading(site.store.database).take(HOLDER), site.wishes.submissions()
    standing = SubmissionStanding(
        submission_id=one.id, generation=1, state=State.COMPLETE, reason="all runs", settled=True
    )
    Leading(site.store.database).record(lead, standings=[standing])
    ann.act("tiny", "resume")
    ann.act("tiny", "cancel")
    assert buttons(ann.see(path)) == ["clone", "link"]


def test_a_sweep_of_a_terminal_can_be_stopped_by_an_administrator(site: Site, app: Any) -> None:
    """Nothing else is offered, and to nobody else."""
    planned(site.store)
    [sweep] = site.store.sweeps()
    path = f"/s/{sweep.name}/actions"
    assert b"in a terminal" in browser(site, app, "ann").see(path).body
    assert buttons(browser(site, app, "ann").see(path)) == []
    assert set(buttons(browser(site, app, "root").see(path))) <= {"stop", "link"}


def test_the_queue_is_a_page(site: Site, app: Any) -> None:
    """With place and reason, in parts; it says when nothing will start."""
    for number in range(3):
        site.submit(name=f"s{number}")
    page = browser(site, app, "eve").see("/queue").body.decode()
    assert re.findall(r"actions\">(s\d)<", page) == ["s0", "s1", "s2"]
    assert "No supervisor runs" in page
    Leading(site.store.database).take({**HOLDER, "room": [1.0, 0.0]})
    page = browser(site, app, "eve").see("/queue", "skip=1").body.decode()
    assert re.findall(r"actions\">(s\d)<", page) == ["s1", "s2"]
    assert ("No supervisor runs" in page, "at once" in page) == (False, False)
    assert browser(site, app, "eve").see("/queue", "skip=x").status == 400


def test_the_pages_say_what_is_left_and_what_did_not_arrive(site: Site, app: Any) -> None:
    """To each owner the own limits; of a message its event, its tries and the reason."""
    site.submit()
    ann = browser(site, app, "ann")
    assert "left." not in ann.see("/queue").body.decode()
    site.ask("root", "PUT", "/owners/ann", {"most_hours": 6, "most_money": 5})
    leading = Leading(site.store.database)
    lead = leading.take({**HOLDER, "room": [8.0, 0.0], "price": 2.5})
    leading.record(lead, usage={"ann": 5400.0}, price=2.5)
    told = "ann has 4.50 of 6 hours and 1.25 of 5 money left."
    assert told in ann.see("/queue").body.decode()
    assert "left." not in browser(site, app, "eve").see("/queue").body.decode()
    leading.record(lead, usage={"ann": 18_000.0}, price=2.5)
    assert "left; nothing starts until an administrator" in ann.see("/queue").body.decode()
    leading.record(lead, events=[("tiny", "halted", "too many")], receivers=("r", "s"))
    assert "has not arrived" not in ann.see("/s/tiny/actions").body.decode()
    outbox = Outbox(site.store.database)
    lost, given_up = outbox.messages("tiny")
    for one in (lost, given_up):
        assert outbox.claim(one, body=one.body)
    outbox.failed(lost, outcome="it answered 500", wait_s=10.0)
    outbox.received(given_up, outcome="given up after 9 tries: no answer")
    page = ann.see("/s/tiny/actions").body.decode()
    assert "“halted” has not arrived after 1 try: it answered 500." in page
    assert "“halted” has not arrived after 1 try: given up after 9 tries: no answer." in page


def test_pages_with_forms_have_nothing_inline(site: Site, app: Any) -> None:
    """Neither script nor style, and their policy allows none."""
    site.submit()
    ann = browser(site, app, "ann")
    for path in ("/queue", "/s/tiny/actions", *(f"/s/tiny/actions/{one}" for one in ACTIONS)):
        answer = ann.see(path)
        policy, text = answer.headers["content-security-policy"], answer.body.decode()
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert re.search(r"<style|\sstyle=|\son\w+=|<script>", text) is None, path
        assert answer.headers["referrer-policy"] == "same-origin"  # else its Origin would be null
    login = ask(app, "GET", "/login").headers["content-security-policy"]
    assert "unsafe" not in login


def test_who_comes_from_a_message_keeps_the_login(site: Site, app: Any) -> None:
    """A browser sends the strict cookie when our own page asks again, once; then the form."""
    people = {"accept": "text/html"}
    first = ask(app, "GET", "/queue", headers={**people, "sec-fetch-site": "cross-site"})
    assert (first.status, b"refresh" in first.body) == (200, True)
    for where in ({"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert ask(app, "GET", "/queue", headers={**people, **where}).status == 303
    foreign = {"sec-fetch-site": "cross-site"}
    assert ask(app, "GET", "/api/v1/me", headers={**people, **foreign}).status == 401


def test_log_out_takes_the_cookie_away(site: Site, app: Any) -> None:
    """By a form of ours alone."""
    ann = browser(site, app, "ann")
    assert ann.send("/logout", {}, origin=None).status == 403
    left = ann.send("/logout", {})
    assert (left.status, left.headers["location"]) == (303, "/login")
    assert 'sweeper_token=""' in left.headers["set-cookie"]


# --- links


@pytest.fixture
def playing(site: Site) -> str:
    """The name of a sweep that is being trained."""
    levels = {planted.BATCH: [2, 8], planted.RATIO: [1.0, 0.05]}
    play = Play(site.store, planted.plan(levels=levels, replicates=3, epochs=2), workers=1)
    play.until(4)
    play.steps(2)
    return play.sweep.name


def shared(site: Site, name: str) -> tuple[str, str]:
    """A link to a sweep: its path, and its text."""
    answer = site.ask("root", "POST", f"/sweeps/{name}/links", {"days": 7, "label": "reviewer"})
    assert answer.status == 200, answer.body
    path = answer.json["path"]
    return path, path.removeprefix("/link/")


def test_a_link_shows_one_sweep_and_nothing_else(site: Site, app: Any, playing: str) -> None:
    """The page of its sweep, its parts and the files, by reading alone."""
    name = playing
    path, text = shared(site, name)
    followed = ask(app, "GET", path)
    assert (followed.status, followed.headers["location"]) == (303, f"/s/{name}")
    cookie, _, rest = followed.headers["set-cookie"].partition(";")
    assert all(word in rest for word in ("HttpOnly", "SameSite=lax", "Max-Age"))
    guest = Browser(app, text, cookie=cookie.partition("=")[0])
    page = guest.see(f"/s/{name}")
    assert page.status == 200
    for part in ("figures", "report"):
        assert guest.see(f"/s/{name}/{part}").status == 200, part
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.body.decode())
    assert len(files) >= 3
    assert guest.see(files[0]).status == 200
    elsewhere = re.findall(r'href="(/[^"]*)"', page.body.decode())
    assert [one for one in elsewhere if not one.startswith("/static/")] == []
    closed = ["/", "/queue", f"/s/{name}/actions", f"/s/{name}/actions/stop", "/s/other"]
    closed += [f"/s/{name}x", f"/s/{name}/report/x", f"/s/x/../{name}", "/api/v1/me"]
    closed += [f"/api/v1/sweeps/{name}", f"/api/v1/sweeps/{name}/logs", "/api/v1/events"]
    for where in closed:
        assert guest.see(where).status == 403, where
        assert ask(app, "GET", where, token=text).status == 403, where
    for where in (f"/s/{name}", f"/s/{name}/report", f"/s/{name}/actions/stop"):
        assert guest.send(where, {}).status == 403, where
    assert ask(app, "POST", "/login", raw=f"token={text}".encode()).status == 401


def test_a_page_that_is_shared_names_no_machine(site: Site, app: Any, playing: str) -> None:
    """Who has a token sees them."""
    name, node = playing, "node-1"
    _, text = shared(site, name)
    own = browser(site, app, "eve").see(f"/s/{name}").body.decode()
    assert f"sweeper stop {name}" in own
    assert "kill -INT" not in own
    guests = Browser(app, text, cookie="sweeper_link_x").see(f"/s/{name}").body.decode()
    assert node in own
    assert f"/s/{name}/actions" in own
    assert (node in guests, "/actions" in guests, "sweeper stop" in guests) == (False,) * 3


def test_links_of_several_sweeps_stand_beside_each_other(
    site: Site, app: Any, playing: str
) -> None:
    """And a person's own token comes first."""
    name = playing
    _, text = shared(site, name)
    site.submit(name="tiny")
    second = site.ask("ann", "POST", "/sweeps/tiny/links", {"days": 1}).json["path"][6:]
    both = {"cookie": f"sweeper_link_a={second}; sweeper_link_b={text}"}
    assert ask(app, "GET", f"/s/{name}", headers=both).status == 200
    assert ask(app, "GET", "/s/tiny", headers=both).status == 404  # it has no page yet
    assert ask(app, "GET", "/queue", headers=both).status == 403
    mine = {"cookie": f"{both['cookie']}; {COOKIE}={site.tokens['eve']}"}
    assert ask(app, "GET", "/queue", headers=mine).status == 200
    gone = {"cookie": f"{both['cookie']}; {COOKIE}={site.tokens['eve'][:-4]}0000"}
    assert ask(app, "GET", f"/s/{name}", headers=gone).status == 200


def test_a_link_is_made_and_revoked_on_the_page(site: Site, app: Any) -> None:
    """By the owner; it is shown once, and only the hash of its secret is stored."""
    site.submit()
    ann = browser(site, app, "ann")
    made = ann.act("tiny", LINK, days="7", label="reviewer")
    [text] = re.findall(rf"<code>{ORIGIN}/link/(sweeper_\w+_[\w-]+)</code>", made.body.decode())
    found = FORM.fullmatch(text)
    assert found is not None
    again = ann.see("/s/tiny/actions").body.decode()
    assert (found[1] in again, found[2] in again, "reviewer" in again) == (True, False, True)
    path = site.store.database.address.path
    assert path is not None
    stored = b"".join(file.read_bytes() for file in path.parent.glob("s.db*"))
    assert found[2].encode() not in stored
    [link] = site.ask("ann", "GET", "/sweeps/tiny/links").json["links"]
    assert link["expires_at"] - link["created_at"] == pytest.approx(7 * 86400, abs=1)
    assert site.ask("bob", "GET", "/sweeps/tiny/links").status == 403
    assert site.ask("bob", "DELETE", f"/sweeps/tiny/links/{found[1]}").status == 403
    assert ask(app, "GET", f"/link/{text}").status == 303
    assert ann.act("tiny", REVOKE, ident=found[1]).status == 303
    assert ask(app, "GET", f"/link/{text}").status == 404
    assert [(one.what, one.who) for one in site.wishes.events(name="tiny")[1:]] == [
        ("link", "ann"), ("link", "ann"),
    ]  # fmt: skip


def test_a_link_needs_an_end_and_a_token_is_none(site: Site, app: Any) -> None:
    """No link is for ever, none is made of a token, and an expired one shows nothing."""
    site.submit()
    for wrong in ({}, {"days": None}, {"days": -1}, {"days": True}, {"days": 1e9}):
        assert site.ask("ann", "POST", "/sweeps/tiny/links", wrong).status == 400, wrong
    assert ask(app, "GET", f"/link/{site.tokens['root']}").status == 404
    assert ask(app, "GET", "/link/x").status == 404
    ident = site.ask("root", "GET", "/me").json["token"]
    assert site.ask("root", "DELETE", f"/sweeps/tiny/links/{ident}").status == 400
    old = site.token("ann", Role.READER, days=-1)
    assert ask(app, "GET", f"/link/{old}").status == 404


def test_the_services_own_events_are_for_administrators(site: Site) -> None:
    """Names and numbers of tokens are nobody else's business."""
    site.submit()
    for who, kinds in {"eve": {"submit"}, "root": {"submit", "token"}}.items():
        for query in ("", "name="):
            found = site.ask(who, "GET", "/events", query=query).json["events"]
            assert {one["what"] for one in found} <= kinds, (who, query)
    assert len(site.ask("root", "GET", "/events").json["events"]) > 1


def test_an_answer_that_lasts_ends_with_its_token(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream is broken off at the next look after its token was revoked."""
    monkeypatch.setattr(gate, "AGAIN_SECONDS", 0.0)
    sent: list[bytes] = []
    ident = site.ask("root", "GET", "/me").json["token"]

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(4):
            if number == 2:
                await asyncio.to_thread(site.ask, "root", "DELETE", f"/tokens/{ident}")
            sent.append(b"%d" % number)
            await send({"type": "http.response.body", "body": sent[-1], "more_body": True})

    app: Any = Gate(stream, hosts=frozenset({HOST}), known=site.desk.known)
    with pytest.raises(ConnectionResetError, match="no longer valid"):
        ask(app, "GET", "/s/x/stream", token=site.tokens["root"])
    assert sent == [b"0", b"1", b"2"]
