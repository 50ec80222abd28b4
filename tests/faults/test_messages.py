"""Messages to a real server: kills, slow receivers, redirects, errors, and what shows no secret."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from patience import eventually
from receiving import Mailbox, mailbox
from sqlalchemy import update

from sweeper.errors import InputError
from sweeper.service import receivers
from sweeper.service.messages import Addressees, Messenger
from sweeper.service.receivers import AllowedHosts, Receiver, masked, owners_receiver
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.outbox import Outbox
from sweeper.store.service_records import NewSubmission, OutboxMessage
from sweeper.store.service_tables import MessageTable
from sweeper.store.wishes import Wishes

# Some versions of apprise import modules that Python is about to remove.
OLD = pytest.mark.filterwarnings("ignore::DeprecationWarning:apprise")


@dataclass
class Post:
    """A database with one finished sweep, and a receiver."""

    store: Store
    box: Mailbox
    said: list[str] = field(default_factory=list[str])

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.store.database)

    def finish(self, *addresses: str, name: str = "a", notify: tuple[str, ...] = ()) -> None:
        new = NewSubmission(name=name, owner="ann", spec_text="", notify=notify, key=name)
        Wishes(self.store.database).submit(new, who="ann")
        leading = Leading(self.store.database)
        lead = leading.take({"host": "here", "pid": 1})
        ids = [Receiver(address).id for address in addresses]
        leading.record(lead, events=[(name, "complete", "2 runs")], receivers=ids)
        leading.release(lead)

    def messenger(self, *addresses: str, allowed: str = "") -> Messenger:
        hosts = AllowedHosts.read([allowed] if allowed else [])
        owners = tuple(owners_receiver(address) for address in addresses)
        link = "https://sweeps.example.org"
        return Messenger(
            self.outbox,
            Addressees(owners=owners, allowed=hosts, link=link),
            verdict=lambda name: f"{name}: 0.1 is best",
            say=self.said.append,
        )

    def later(self) -> None:
        """As if back-off and claims had run out."""
        query = update(MessageTable).values(next_at=0.0)
        self.store.database.write(lambda connection: connection.execute(query))

    def only(self, name: str = "a") -> OutboxMessage:
        [one] = self.outbox.messages(name)
        return one


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with Store.open(f"sqlite:///{tmp_path}/s.db", create=True) as store, mailbox() as box:
        yield Post(store, box)


def test_a_finished_sweep_is_announced_with_verdict_and_link(post: Post) -> None:
    """Once; the key of the request is the event's id."""
    post.finish(post.box.url)
    messenger = post.messenger(post.box.url)
    assert [messenger.step(), messenger.step()] == [1, 0]
    [body] = post.box.bodies
    assert post.box.keys == [body["id"]]
    assert (body["event"], body["sweep"], body["owner"]) == ("finished", "a", "ann")
    link = "https://sweeps.example.org/s/a"
    assert body["text"] == f"a: finished. a: 0.1 is best. 2 runs. {link}"
    assert post.only().outcome == "received"


KILLED = """
import os, signal, sys
from sweeper.service.messages import Addressees, Messenger
from sweeper.service.receivers import owners_receiver
from sweeper.store import Store
from sweeper.store.outbox import Outbox

class Dying(Outbox):
    def received(self, one, *, outcome="received"):
        os.kill(os.getpid(), signal.SIGKILL)

with Store.open(sys.argv[1], create=True) as store:
    owners = (owners_receiver(sys.argv[2]),)
    Messenger(Dying(store.database), Addressees(owners=owners)).step()
"""


def test_a_sender_killed_between_send_and_record(post: Post, tmp_path: Path) -> None:
    """The next one sends the same body with the same key, so that the receiver knows it."""
    post.finish(post.box.url)
    words = [sys.executable, "-c", KILLED, f"sqlite:///{tmp_path}/s.db", post.box.url]
    killed = subprocess.run(words, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    messenger = post.messenger(post.box.url)
    assert messenger.step() == 0  # the claim holds, in case the other one is only slow
    post.later()
    assert messenger.step() == 1
    assert len(post.box.keys) == 2
    assert len(set(post.box.keys)) == 1
    assert post.only().outcome == "received"


BAD: list[tuple[list[int], str]] = [
    ([500, 200], "it answers 500"),
    ([404, 204], "it answers 404"),
    ([302, 200], "it answers 302: redirects are not followed"),
    ([0, 200], "no answer in 0.3 s"),
]


@pytest.mark.parametrize(("answers", "why"), BAD)
def test_a_message_is_tried_again_with_back_off(
    post: Post, monkeypatch: pytest.MonkeyPatch, answers: list[int], why: str
) -> None:
    """After an error, a redirect, or an answer that never ends; no other path is asked."""
    monkeypatch.setattr(receivers, "SEND_SECONDS", 0.3)
    post.box.answers = list(answers)
    post.finish(post.box.url)
    messenger = post.messenger(post.box.url)
    messenger.step()
    one = post.only()
    assert (one.outcome, one.done_at, one.sending) == (why, None, False)
    assert messenger.step() == 0
    post.later()
    messenger.step()
    assert post.only().outcome == "received"
    assert post.box.paths == ["/hook/SECRET-PATH"] * 2
    assert len(set(post.box.keys)) == 1


def test_only_the_leader_sends(post: Post) -> None:
    """Another supervisor may know other receivers."""

    class Looks:
        def __init__(self, number: int) -> None:
            self.left = number

        def wait(self, seconds: float) -> bool:
            self.left -= 1
            return self.left < 0

    post.finish(post.box.url)
    messenger, twice = post.messenger(post.box.url), [False, True]
    one: Any = Looks(2)
    messenger.run(one, leads=lambda: False)
    assert post.box.keys == []
    two: Any = Looks(2)
    messenger.run(two, leads=lambda: twice.pop(0))
    assert len(post.box.keys) == 1


def test_a_slow_receiver_holds_up_nobody_else(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of a look are sent side by side."""
    monkeypatch.setattr(receivers, "SEND_SECONDS", 300.0)
    with mailbox(0) as slow:
        post.finish(slow.url, post.box.url)
        messenger = post.messenger(slow.url, post.box.url)
        thread = threading.Thread(target=messenger.step)
        thread.start()
        eventually(lambda: post.box.keys, "the quick receiver waits for the slow one")
        slow.let_go.set()
        thread.join()


def test_the_waits_grow_and_end(post: Post) -> None:
    """10 s, 20 s, ... an hour; a day after the event the message is given up, and said so."""
    post.box.answers = [500]
    post.finish(post.box.url)
    messenger = post.messenger(post.box.url)
    waits: list[float] = []
    for _ in range(11):
        post.later()
        messenger.step()
        waits.append(round(post.only().next_at - Wishes(post.store.database).now()))
    assert waits[:4] == pytest.approx([10, 20, 40, 80], abs=5)
    assert waits[-1] == pytest.approx(3600, abs=5)
    old = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    query = update(MessageTable).values(body={**post.only().body, "at": old}, next_at=0.0)
    post.store.database.write(lambda connection: connection.execute(query))
    messenger.step()
    assert post.only().outcome == "given up after 12 tries: it answers 500"
    assert "given up after 12 tries" in post.said[-1]


def test_no_secret_of_an_address_is_shown(
    post: Post, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what is said, nor in the log, the outbox, the events or an error."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(receivers, "SEND_SECONDS", 0.3)
    gone = "http://127.0.0.1:1/SECRET-PATH?token=SECRET-PATH"
    for name, address, answers in (("a", post.box.url, [500]), ("b", gone, [500])):
        post.box.answers = answers
        post.finish(address, name=name)
        post.messenger(address).step()
    refused = "https://ann:SECRET-PATH@hooks.example.org/SECRET-PATH"
    with pytest.raises(InputError) as error:
        owners_receiver(refused)
    events = Wishes(post.store.database).events()
    rows = [post.only("a"), post.only("b"), *events]
    shown = f"{post.said} {caplog.text} {rows} {error.value} {Receiver(gone)!r}"
    assert "SECRET-PATH" not in shown
    assert masked(refused) in str(error.value)
    assert post.said[0].startswith("http://127.0.0.1:")


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and the certificate that vouches for it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=here"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run(["openssl", *words, "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_only_a_certificate_that_is_trusted_gets_a_message(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the message waits; the reason has no secret."""
    context, certificate = certified(tmp_path)
    with mailbox(tls=context) as box:
        post.finish(box.url)
        messenger = post.messenger(box.url)
        messenger.step()
        assert "certificate verify failed" in post.only().outcome.lower().replace("_", " ")
        assert "SECRET-PATH" not in f"{post.said}{post.only().outcome}"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        post.later()
        messenger.step()
        assert post.only().outcome == "received"
        assert box.events() == ["finished"]


# --- who may name what

OWNERS: list[tuple[str, str]] = [
    ("http://hooks.example.org/x", "would cross the network readable"),
    ("http://127.0.0.1.example.org/x", "would cross the network readable"),
    ("https://", "not an address"),
    ("https://hooks.example.org/a b", "not an address"),
    ("https://hooks.example.org/a\r\nHost: b", "not an address"),
    ("https://hooks.example.org:99999/", "not an address"),
    ("nothing://x", "not an address that apprise knows"),
    ("hooks.example.org", "not an address"),
    ("file:///etc/passwd", "not an address that apprise knows"),
]


@OLD
@pytest.mark.parametrize(("address", "told"), OWNERS)
def test_an_address_that_cannot_be_is_refused(address: str, told: str) -> None:
    """In one line, before anything starts."""
    with pytest.raises(InputError, match=told) as error:
        owners_receiver(address)
    assert len(error.value.lines) == 1


def test_without_apprise_its_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(receivers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"slack://\*\*\*: needs another package: pip install"):
        owners_receiver("slack://TokenA/TokenB/TokenC")
    assert owners_receiver("https://hooks.example.org/x").webhook


ALLOWED = ["hooks.example.org", "127.0.0.1:9000", "other.example.org:8443"]
SUBMITTED: list[tuple[str, bool]] = [
    ("https://hooks.example.org/x", True),
    ("https://HOOKS.example.org/x", True),
    ("https://other.example.org:8443/x", True),
    ("http://127.0.0.1:9000/x", True),
    ("http://hooks.example.org/x", False),
    ("https://hooks.example.org:8443/x", False),
    ("https://hooks.example.org.evil.example/x", False),
    ("https://hooks.example.org@evil.example/x", False),
    ("https://evil.example/hooks.example.org", False),
    ("https://evil.example#@hooks.example.org/", False),
    ("http://127.0.0.1:22/x", False),
    ("http://169.254.169.254/latest/meta-data", False),
    ("https://[::1]/x", False),
    ("https://2130706433/x", False),
    ("slack://TokenA/TokenB/TokenC", False),
]


@pytest.mark.parametrize(("address", "allowed"), SUBMITTED)
def test_a_submitter_may_name_only_allowed_hosts(address: str, allowed: bool) -> None:
    """So that nobody lets the server ask what only the server can reach."""
    hosts = AllowedHosts.read(ALLOWED)
    if allowed:
        assert hosts.receiver(address).address == address
        with pytest.raises(InputError, match="--notify-host: none"):
            AllowedHosts().receiver(address)
        return
    with pytest.raises(InputError, match=r"not (allowed here|an address)|before the host"):
        hosts.receiver(address)


@pytest.mark.parametrize("word", ["", "https://x", "a/b", "x:y", "u@x", ":80"])
def test_an_allowed_host_is_a_host(word: str) -> None:
    """With or without a port."""
    with pytest.raises(InputError, match="HOST or HOST:PORT"):
        AllowedHosts.read([word])


def test_a_submissions_own_receiver_gets_its_messages(post: Post) -> None:
    """As long as its host is allowed."""
    host = post.box.url.split("/")[2]
    post.finish(notify=(post.box.url,))
    post.messenger().step()
    assert post.only().outcome == "no such receiver is configured any more"
    post.later()
    post.messenger(allowed=host).step()
    assert post.box.events() == ["finished"]


# --- apprise


def test_apprise_sends_and_is_not_asked_twice(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no key, so a message whose sender died counts as sent."""
    got: list[tuple[str, str]] = []
    works = [False]

    class Made:
        def notify(self, *, body: str, title: str) -> bool:
            got.append((title, body))
            return works[0]

    def made(address: str) -> Any:
        return Made()

    monkeypatch.setattr(receivers, "_made", made)
    address = "slack://TokenA/TokenB/TokenC"
    post.finish(address)
    messenger = post.messenger(address)
    messenger.step()
    assert post.only().outcome == "apprise could not send it"
    post.later()
    works[0] = True
    messenger.step()
    assert [title for title, _ in got] == ["a: finished"] * 2
    assert post.only().outcome == "received"
    post.finish(address, name="b")
    assert post.outbox.claim(post.only("b"), body=post.only("b").body)
    post.later()
    messenger.step()
    assert len(got) == 2
    assert post.only("b").outcome == "its sender ended while it was sent; it is not sent twice"


@OLD
def test_apprise_itself_posts_to_an_address(post: Post) -> None:
    """The real package, with its own kind of webhook."""
    pytest.importorskip("apprise")
    address = post.box.url.replace("http://", "json://")
    owners_receiver(address).send({"id": "1"}, title="a: finished", text="0.1 is best")
    [body] = post.box.bodies
    assert (body["title"], body["message"]) == ("a: finished", "0.1 is best")
