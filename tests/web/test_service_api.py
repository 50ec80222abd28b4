"""The API of the service: every route by every method as everybody, wishes, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from command import TINY
from sites import ORIGIN, Site
from starlette.routing import Route
from store_samples import HOLDER, new_sweep, planned

from sweeper.errors import InputError
from sweeper.service import registered
from sweeper.service.access import FORM
from sweeper.service.checking import Checker, examine
from sweeper.service.desk import Desk
from sweeper.service.drivers import LOG
from sweeper.service.gate import COOKIE
from sweeper.service.receivers import AllowedHosts
from sweeper.service.routes import ENDPOINTS
from sweeper.service.serving import Listening
from sweeper.states import Ending
from sweeper.store.leading import Leading
from sweeper.store.service_records import Role, State, SubmissionStanding
from sweeper.watch.routes import Watcher
from sweeper.watch.routes import routes as watched

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.store.close()


# --- every route


def filled(path: str) -> str:
    return path.replace("{name}", "tiny").replace("{ident}", "x").replace("{owner}", "ann")


def test_the_table_of_routes_is_the_applications_own(site: Site) -> None:
    """What is tested below is all there is."""
    served = {
        (method, route.path)
        for route in site.routes.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == {(one.method, one.route) for one in ENDPOINTS}
    assert len(site.routes.routes) == len(ENDPOINTS)


def test_every_route_by_every_method_as_everybody(site: Site) -> None:
    """Without a token 401; with too small a role 403; by another method 405; else an answer."""
    site.submit()
    needed: dict[str, dict[str, Role]] = {}
    for one in ENDPOINTS:
        needed.setdefault(one.route, {})[one.method] = one.role
        if one.method == "GET":
            needed[one.route]["HEAD"] = one.role
    people = {
        "": None,
        "wrong": None,
        "eve": Role.READER,
        "ann": Role.SUBMITTER,
        "root": Role.ADMIN,
    }
    site.tokens["wrong"] = site.tokens["root"][:-4] + "0000"
    for (path, methods), method, (who, role) in itertools.product(
        needed.items(), METHODS, people.items()
    ):
        body = {} if method in ("POST", "PUT") else None
        answer = ask(site.app, method, filled(path), body, token=site.tokens.get(who))
        case = (path, method, who, answer)
        if role is None:
            assert answer.status == 401, case
        elif method not in methods:
            assert answer.status == 405, case
        elif not role.allows(methods[method]):
            assert answer.status == 403, case
        else:
            assert answer.status in (200, 400, 404), case
        assert answer.headers["cache-control"] == "no-store", case
        assert answer.headers["x-content-type-options"] == "nosniff", case
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], case
        assert not any(name.startswith("access-control") for name in answer.headers), case


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1:9"}, 400),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ORIGIN}, 200),
        ({"content-length": "999999999"}, 413),
        ({"authorization": "Basic abc"}, 401),
        ({"authorization": "Bearer " + "x" * 1_000_000}, 401),
        ({"authorization": "Bearer"}, 401),
    ],
)
def test_the_gate_refuses(site: Site, headers: dict[str, str], status: int) -> None:
    """Another name or page, a large body, a token that is none: before any route."""
    assert site.ask("ann", "GET", "/me", headers=headers).status == status


def test_a_token_in_the_address_is_no_token(site: Site) -> None:
    """Addresses are logged; only the header and the cookie count."""
    query = f"token={site.tokens['ann']}"
    assert site.ask("", "GET", "/me", query=query).status == 401


def test_a_browsers_cookie_needs_the_page_that_it_belongs_to(site: Site) -> None:
    """Reading is free; a change must say that it comes from our own page."""
    cookie = {"cookie": f"{COOKIE}={site.tokens['ann']}"}
    assert site.ask("", "GET", "/me", headers=cookie).json["owner"] == "ann"
    path, body = "/sweeps/tiny/stop", {}
    assert site.ask("", "POST", path, body, headers=cookie).status == 403
    assert site.ask("", "POST", path, body, headers={**cookie, "origin": ORIGIN}).status == 404


def test_a_token_that_expired_or_was_revoked_is_none(site: Site) -> None:
    """From the next request on."""
    site.tokens |= {
        "old": site.token("ann", Role.ADMIN, days=-1),
        "new": site.token("a", Role.READER),
    }
    assert site.ask("old", "GET", "/me").status == 401
    ident = site.ask("new", "GET", "/me").json["token"]
    assert site.ask("root", "DELETE", f"/tokens/{ident}").status == 200
    assert site.ask("new", "GET", "/me").status == 401


def test_the_secret_of_a_token_is_stored_nowhere(site: Site) -> None:
    """Neither in the database nor in what the list of tokens shows."""
    made = site.ask("root", "POST", "/tokens", {"owner": "zoe", "role": "reader", "days": 3}).json
    found = FORM.fullmatch(made["token"])
    assert found is not None
    listed = site.ask("root", "GET", "/tokens").body.decode()
    path = site.store.database.address.path
    assert path is not None
    stored = b"".join(file.read_bytes() for file in path.parent.glob("s.db*"))
    assert found[1] in listed
    assert found[1].encode() in stored
    assert found[2] not in listed
    assert found[2].encode() not in stored


# --- the pages


@pytest.fixture
def pages(site: Site) -> Iterator[Any]:
    """The API with the live pages."""
    site.store.create_sweep(new_sweep("plain"))
    with site.pages() as app:
        yield app


def test_a_browser_comes_in_by_the_form(site: Site, pages: Any) -> None:
    """Without a token it is sent there; a valid one becomes a cookie that no script reads."""
    people = {"accept": "text/html,*/*"}
    sent = ask(pages, "GET", "/", headers=people)
    assert (sent.status, sent.headers["location"]) == (303, "/login")
    form = ask(pages, "GET", "/login")
    assert b"Your token" in form.body
    assert form.headers["referrer-policy"] == "same-origin"  # else its Origin would be null
    assert ask(pages, "POST", "/login", raw=b"token=wrong").status == 401
    entered = ask(pages, "POST", "/login", raw=f"token={site.tokens['eve']}".encode())
    cookie = entered.headers["set-cookie"]
    assert (entered.status, "HttpOnly" in cookie, "SameSite=strict" in cookie) == (303, True, True)
    headers = {"cookie": cookie.partition(";")[0], **people}
    listed = ask(pages, "GET", "/", headers=headers)
    assert listed.status == 200
    assert b"plain" in listed.body
    foreign = {"origin": "https://evil.example"}
    assert ask(pages, "POST", "/login", raw=b"token=x", headers=foreign).status == 403


def test_the_live_pages_need_a_token_and_read_only(site: Site, pages: Any) -> None:
    """Each page, by each method, without a token and with a reader's."""
    paths = [
        one.path
        for one in watched(lambda request: Watcher.__new__(Watcher))
        if "stream" not in one.path
    ]
    assert len(paths) >= 6
    for path, method in itertools.product(paths, METHODS):
        asked = path.replace("{name}", "none").replace("{run:int}", "1").replace("{version}", "x")
        assert ask(pages, method, asked).status == 401, (path, method)
        status = ask(pages, method, asked, token=site.tokens["eve"]).status
        assert (status in (200, 404)) == (method in ("GET", "HEAD")), (path, method, status)


# --- wishes


def test_a_sweep_is_submitted_and_seen(site: Site) -> None:
    """With its size and its place; the spec's own name is the sweep's."""
    answer = site.submit(set=["replicates=3"], priority="high")
    assert answer.status == 200, answer.body
    found = answer.json
    assert (found["name"], found["cells"], found["runs"], found["new"]) == ("tiny", 4, 12, True)
    [row] = site.ask("eve", "GET", "/sweeps").json["sweeps"]
    assert (row["name"], row["owner"], row["priority"], row["state"]) == (
        "tiny", "ann", "high", "queued",
    )  # fmt: skip
    assert (row["needs"]["runs"], row["window"]) == (12, [])
    shown = site.ask("eve", "GET", "/sweeps/tiny").json
    assert shown["submission"]["overrides"] == ["replicates=3"]
    assert [event["what"] for event in shown["events"]] == ["submit"]


def test_a_long_list_is_read_in_parts(site: Site) -> None:
    """With the number of all; what is no number is refused."""
    for number in range(5):
        site.submit(name=f"s{number}")
    found = site.ask("eve", "GET", "/sweeps", query="skip=2&most=2").json
    assert ([row["name"] for row in found["sweeps"]], found["total"]) == (["s2", "s3"], 5)
    for wrong in ("-1", "x", "1e9", "9" * 19):
        assert site.ask("eve", "GET", "/sweeps", query=f"skip={wrong}").status == 400


def test_a_dry_run_changes_nothing(site: Site) -> None:
    """It answers as the submission would."""
    found = site.submit(dry_run=True).json
    assert (found["dry_run"], found["runs"], found["state"]) == (True, 8, "queued")
    assert site.ask("eve", "GET", "/sweeps").json["sweeps"] == []


def test_the_place_and_the_expected_start_are_told_before_it_is_accepted(site: Site) -> None:
    """As soon as a supervisor has said what there is to hand out."""
    Leading(site.store.database).take({**HOLDER, "room": [1.0, 0.0]})
    for number in range(3):
        site.submit(name=f"s{number}")
    found = site.submit(name="last", dry_run=True).json
    assert found["position"] == 4
    assert found["starts_in_s"] == 3 * 8 * 60.0
    first = site.submit(name="first", dry_run=True, priority="high").json
    assert (first["position"], first["starts_in_s"]) == (1, 0.0)


def test_the_hours_are_those_of_earlier_sweeps(site: Site) -> None:
    """The same data and network count first; without a complete run nothing is known."""
    assert site.submit(dry_run=True).json["hours"] is None
    plan = planned(site.store)
    spec = {"data": {"dataset": "digits"}, "train": {"model": "resnet"}}
    site.store.update_sweep(plan.lease, spec=spec)
    plan.begin(plan.run_ids[:1])
    plan.record(plan.report(plan.run_ids[0], epoch=4, seconds=80.0, ending=Ending.COMPLETE))
    answer = site.submit(set=["train.epochs=9"]).json
    assert answer["hours"] == pytest.approx(8 * 9 * 20.0 / 3600)
    [one] = site.wishes.submissions()
    assert one.needs.seconds == pytest.approx(8 * 9 * 20.0)


def test_a_submission_names_who_gets_its_messages(site: Site) -> None:
    """On allowed hosts alone; what may be a secret is shown to nobody."""
    address = "https://hooks.example.org/SECRET"
    refused = site.submit(notify=[address])
    assert refused.status == 400
    assert "not allowed here" in refused.lines[0]
    site.desk._allowed = AllowedHosts.read(["hooks.example.org"])
    assert site.submit(notify=[address] * 4).lines == ["notify: 4 addresses: at most 3"]
    answer = site.submit(notify=[address])
    assert answer.status == 200
    shown = site.ask("eve", "GET", "/sweeps/tiny")
    assert shown.json["submission"]["notify"] == ["https://hooks.example.org/***"]
    listed = site.ask("eve", "GET", "/sweeps").body + site.ask("eve", "GET", "/events").body
    assert b"SECRET" not in refused.body + answer.body + shown.body + listed
    one = site.wishes.submission("tiny")
    assert one is not None
    assert one.notify == (address,)


def test_the_same_key_is_the_same_wish(site: Site) -> None:
    """In the header, as clients repeat it, or in the body."""
    headers = {"idempotency-key": "k-1"}
    first = site.ask("ann", "POST", "/sweeps", {"spec": TINY}, headers=headers)
    again = site.ask("ann", "POST", "/sweeps", {"spec": TINY, "key": "other"}, headers=headers)
    assert (first.json["new"], again.json["new"]) == (True, False)
    assert len(site.wishes.submissions()) == 1


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spec": "name: [\n"}, "spec:2: not YAML"),
    ({"spec": TINY + "foo: 1\n"}, "spec:10: foo: no such key"),
    ({"spec": 7}, "spec: a text is needed"),
    ({"spec": TINY, "set": "a=1"}, "set: a list of texts"),
    ({"spec": TINY, "set": ["foo=1"]}, "foo: no such key"),
    ({"spec": TINY, "priority": "hihg"}, "priority: 'hihg' is not known; did you mean 'high'"),
    ({"spec": TINY, "after": "x"}, "--after: no sweep named 'x'"),
    ({"spec": TINY, "at": "22:00"}, "until: '': a time of the day"),
    ({"spec": TINY, "at": "25:00", "until": "06:00"}, "at: '25:00': a time of the day"),
    ({"spec": TINY, "at": "06:00", "until": "06:00"}, "until: '06:00' is the same"),
    ({"spec": TINY, "key": "a b"}, "key: 'a b': use 1 to 64"),
    ({"spec": TINY, "set": ["data.dataset=table", "data.path=/etc/passwd", "data.target=x"]},
     "data.path: '/etc/passwd': a spec that is sent to a service names no files"),
    ({"spec": TINY, "set": ["train.weights=/etc/passwd"]}, "train.weights"),
    ({"spec": TINY + "trainer: mine\n"}, "trainer"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "told"), REFUSED)
def test_what_cannot_be_is_refused_in_a_line(site: Site, body: dict[str, Any], told: str) -> None:
    """As `launch` would say it: where, which value, what is valid; nothing is stored."""
    answer = site.ask("ann", "POST", "/sweeps", body)
    assert answer.status == 400, answer.body
    assert any(told in line for line in answer.lines), answer.lines
    assert site.wishes.submissions() == []


TABLE = """name: loans
question: Which rate?  # kept
data: {registered: loans}
train: {model: mlp, epochs: 2}
scientific: {train.lr: [0.1, 0.2]}
replicates: 2
"""


def test_data_are_named_by_the_servers_registry(site: Site) -> None:
    """The driver reads the registered file; nobody names another one, also not afterwards."""
    assert site.ask("ann", "POST", "/sweeps", {"spec": TABLE}).status == 200
    one = site.wishes.submission("loans")
    assert one is not None
    assert "path: /data/loans.csv" in one.spec_text
    assert "# kept" in one.spec_text
    path = "/sweeps/loans/extend"
    assert site.ask("ann", "POST", path, {"set": ["replicates=5"]}).status == 200
    answer = site.ask("ann", "POST", path, {"set": ["data.path=/etc/passwd"]})
    assert (answer.status, "names no files" in answer.lines[0]) == (400, True)
    for body, told in (
        ({"spec": TABLE.replace(": loans}", ": loand}"), "key": "a"}, "did you mean 'loans'"),
        ({"spec": TABLE, "set": ["data.path=/etc/passwd"], "key": "b"}, "names no files"),
        ({"spec": TABLE.replace("{registered", "{path: /x, registered"), "key": "c"}, "no files"),
    ):
        answer = site.ask("ann", "POST", "/sweeps", body)
        assert answer.status == 400
        assert told in answer.lines[0], answer.lines


def test_the_registry_is_a_file_of_absolute_paths(tmp_path: Path) -> None:
    """Anything else is refused with its place."""
    file = tmp_path / "data.toml"
    for text, told in (
        ("x = [", "cannot be read"),
        ("x = 1", "x: a table is needed"),
        ('[x]\npath = "a.csv"', r"x\.path: 'a\.csv': an absolute path"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=told):
            registered.read(file)
    file.write_text('[x]\ndataset = "table"\npath = "/a.csv"')
    assert registered.read(file) == {"x": {"dataset": "table", "path": "/a.csv"}}


@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(site: Site, raw: bytes) -> None:
    """Whatever it is, the answer is a line."""
    assert site.ask("ann", "POST", "/sweeps", raw=raw).status == 400


def test_a_body_that_is_longer_than_it_says_is_cut_off(site: Site) -> None:
    """The header may lie."""
    raw = b'{"spec": "' + b"x" * 2_000_000 + b'"}'
    headers = {"content-length": "10"}
    assert site.ask("ann", "POST", "/sweeps", raw=raw, headers=headers).status == 413


def test_owners_command_their_own_sweeps_and_administrators_all(site: Site) -> None:
    """Others get 403, and the wish stays as it is."""
    site.submit()
    assert site.ask("bob", "POST", "/sweeps/tiny/stop", {}).status == 403
    assert site.ask("bob", "POST", "/sweeps/tine/stop", {}).status == 404
    assert site.ask("root", "POST", "/sweeps/tiny/stop", {"why": "too dear"}).status == 200
    assert site.ask("ann", "POST", "/sweeps/tiny/resume", {}).status == 200
    shown = site.ask("eve", "GET", "/sweeps/tiny").json
    assert [(one["verb"], one["who"]) for one in shown["commands"]] == [
        ("stop", "root"),
        ("resume", "ann"),
    ]
    assert shown["events"][1]["why"] == "too dear"
    assert shown["submission"]["generation"] == 2


def test_extend_checks_the_whole_spec_again(site: Site) -> None:
    """Wrong values are refused as at submission; the needs follow."""
    site.submit(set=["replicates=3"])
    path = "/sweeps/tiny/extend"
    for wrong in ([], ["foo=1"], ["name=other"]):
        assert site.ask("ann", "POST", path, {"set": wrong}).status == 400
    assert site.ask("ann", "POST", path, {"set": ["replicates=5"]}).status == 200
    [one] = site.wishes.submissions()
    assert (one.overrides, one.needs.runs, one.generation) == (("replicates=5",), 20, 2)


def test_a_sweep_of_a_terminal_stands_beside_the_others(site: Site) -> None:
    """Everybody sees it; an administrator may stop it, its name is not free."""
    site.store.create_sweep(new_sweep("plain"))
    assert site.ask("eve", "GET", "/sweeps").json["launched"][0]["name"] == "plain"
    assert site.submit(name="plain").status == 400
    assert site.ask("ann", "POST", "/sweeps/plain/stop", {}).status == 403
    assert site.ask("root", "POST", "/sweeps/plain/stop", {}).status == 200


def test_the_end_of_the_drivers_log_is_shown(site: Site) -> None:
    """As text, of a submission alone."""
    site.submit()
    [one] = site.wishes.submissions()
    folder = site.folder.of(one.id)
    folder.mkdir(parents=True)
    (folder / LOG).write_text("begin\n" + "x" * 200_000 + "<b>end</b>\n")
    answer = site.ask("eve", "GET", "/sweeps/tiny/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.endswith(b"<b>end</b>\n")
    assert len(answer.body) <= 65_536
    assert site.ask("eve", "GET", "/sweeps/none/logs").status == 404


def test_a_bug_shows_a_number_and_no_traceback(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has the rest."""
    monkeypatch.setattr(Desk, "queue", lambda self, words: 1 / 0)
    answer = site.ask("eve", "GET", "/sweeps")
    assert answer.status == 500
    assert answer.lines[0].startswith("internal error ")
    assert b"Zero" not in answer.body


def test_a_bug_behind_a_page_shows_a_number_too(
    site: Site, pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is sent before the error goes on to the server's log."""
    monkeypatch.setattr(Desk, "queue", lambda self, words: 1 / 0)
    sent: list[bytes] = []

    async def kept(scope: Any, receive: Any, send: Any) -> None:
        async def keep(message: Any) -> None:
            sent.append(message.get("body", b""))

        await pages(scope, receive, keep)

    with pytest.raises(ZeroDivisionError):
        ask(kept, "GET", "/queue", token=site.tokens["eve"])
    text = b"".join(sent)
    assert (b"internal error " in text, b"Zero" in text) == (True, False)


def test_limits_of_an_owner_are_set_by_the_administrator(site: Site) -> None:
    """Unknown and impossible ones are refused."""
    for wrong in ({"most": 1}, {"most_sweeps": 0}, {"most_hours": "x"}, {"weight": True}):
        assert site.ask("root", "PUT", "/owners/ann", wrong).status == 400, wrong
    body = {"most_sweeps": 2, "most_hours": None}
    assert site.ask("root", "PUT", "/owners/ann", body).status == 200
    assert site.ask("root", "GET", "/owners").json["owners"]["ann"]["limits"]["most_sweeps"] == 2


def test_rows_say_what_has_become_of_a_sweep(site: Site) -> None:
    """Those that run or wait come first; a newer wish makes an old standing void."""
    for name in ("done", "waits"):
        site.submit(name=name)
    done = site.wishes.submission("done")
    assert done is not None
    leading = Leading(site.store.database)
    lead = leading.take(HOLDER)
    standing = SubmissionStanding(
        submission_id=done.id, generation=1, state=State.FAILURES, reason="2 runs failed",
        settled=True,
    )  # fmt: skip
    leading.record(lead, standings=[standing])
    rows = site.ask("eve", "GET", "/sweeps").json["sweeps"]
    assert [(row["name"], row["state"], row["reason"]) for row in rows] == [
        ("waits", "queued", "waits for the supervisor to look"),
        ("done", "failures", "2 runs failed"),
    ]
    site.ask("ann", "POST", "/sweeps/done/retry", {"reasons": ["error"]})
    assert site.ask("eve", "GET", "/sweeps/done").json["submission"]["state"] == "queued"


# --- where it listens


def test_it_is_not_reached_from_elsewhere_without_tls(tmp_path: Path) -> None:
    """Tokens would cross the network readable; a proxy or a certificate is needed."""
    for refused in (Listening(host="0.0.0.0"), Listening(host="10.1.1.1")):  # noqa: S104
        with pytest.raises(InputError, match="--behind-proxy NAME"):
            refused.check()
    with pytest.raises(InputError, match="go together"):
        Listening(certificate=tmp_path).check()
    with pytest.raises(InputError, match="no such file"):
        Listening(certificate=tmp_path / "c", key=tmp_path / "k").check()
    proxied = Listening(host="0.0.0.0", behind_proxy="Sweeps.example.org")  # noqa: S104
    proxied.check()
    assert proxied.hosts(8090) == {"sweeps.example.org"}
    Listening().check()
    assert Listening().hosts(8090) == {"127.0.0.1:8090", "localhost:8090", "[::1]:8090"}


def test_a_spec_is_checked_in_a_process_with_limits() -> None:
    """It says the same as here; one that takes too long is given up, and the next one works."""
    checker = Checker()
    assert checker.check(TINY, []) == examine(TINY, [])
    with pytest.raises(InputError, match="too large"):
        checker.check(TINY + "#" * 200_000, [])
    with pytest.raises(InputError):
        checker.check(TINY, ["search.method=qmc", "search.trials=100000000"])
    assert checker.check(TINY, []).cells == 4


def test_a_share_of_a_gpu_must_be_stated() -> None:
    """The queue counts what a worker takes before anything is measured."""
    with pytest.raises(InputError) as caught:
        examine(TINY, ["resources.gpus=auto"])
    assert str(caught.value) == (
        "--set 'resources.gpus=auto': resources.gpus: 'auto': the service grants a share that is "
        "known before: write it, such as 0.25"
    )
    assert examine(TINY, ["resources.gpus=0.25"]).needs.gpus == 0.25
