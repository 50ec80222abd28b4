"""The live page over HTTP: what it shows, what it refuses, and how its changes are numbered."""

import base64
import hashlib
import json
import re

import planted
import pytest
from playing import Play
from starlette.testclient import TestClient

from sweeper.dashboard import ReadOnlyApp
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.watch.routes import Watcher, application
from sweeper.watch.server import gated, new_token
from sweeper.watch.source import WatchedDatabase

NAME = "batch-size-digits"
PRIVATE = "/home/somebody/private"
EMPTY = base64.b64encode(hashlib.sha256(b"").digest()).decode()
LOST = {(3, 1): (Ending.DIVERGED, f"ValueError: nan in {PRIVATE}/data.csv")}


def small(**settings):
    levels = {planted.BATCH: [2, 8], planted.RATIO: [1.0, 0.05]}
    made = {"levels": levels, "replicates": 3, "epochs": 3, "failures": LOST}
    return planted.plan(**{**made, **settings})


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """A sweep of 12 runs, half of which have ended."""
    folder = tmp_path_factory.mktemp("watched")
    with Store.open(f"sqlite:///{folder}/sweeper.db", create=True) as store:
        one = Play(store, small())
        one.until(6)
        one.steps(2)
        yield one


@pytest.fixture(scope="module")
def url(play):
    """The address of its database."""
    return f"sqlite:///{play.store.database.address.path}"


@pytest.fixture(scope="module")
def client(url):
    """A browser without scripts, inside the gate."""
    watcher = Watcher(WatchedDatabase(url))
    with TestClient(application(watcher)) as opened:
        yield opened


def test_the_list_names_every_sweep(client):
    """The list has each sweep's question, state and progress."""
    text = client.get("/").text
    assert NAME in text
    assert "Do small batches serve" in text
    assert "of 12 runs ended" in text


def test_the_page_has_progress_answer_and_table_without_scripts(client):
    """Without scripts a reader has the whole plan's progress, the answer, and the runs by level."""
    text = client.get(f"/s/{NAME}").text
    assert "If you stopped now" in text
    assert "So far" in text
    assert "Runs complete, by batch size" in text
    assert re.search(r"<dt>runs ended</dt><dd>\d+ of 12", text)


def test_no_script_no_style_and_nothing_from_elsewhere_is_allowed(client):
    """The policy allows this server's files alone; the page has neither script nor style in it."""
    answer = client.get(f"/s/{NAME}")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["style-src"] == f"'self' 'sha256-{EMPTY}'"
    assert "style-src-attr" not in policy
    texts = [answer.text, client.get("/").text, client.get(f"/s/{NAME}/figures").text]
    assert not [one for text in texts for one in re.findall(r"<style|\bstyle=", text)]
    assert not re.findall(r'(?:src|href)="(?!/|#|data:,)', answer.text)
    scripts = re.findall(r"<script([^>]*)>", answer.text)
    assert all("src=" in one or "application/json" in one for one in scripts)


def test_paths_and_machines_are_hidden(client):
    """Neither page nor stream nor a run's story names a path, a machine or a process."""
    run = client.get(f"/s/{NAME}/runs/11").json()["text"]
    for text in (client.get(f"/s/{NAME}").text, run):
        assert PRIVATE not in text
        assert "node-1" not in text
    assert "diverged" in client.get(f"/s/{NAME}").text


@pytest.mark.parametrize("path", ["/s/other", "/s/other/stream", "/static/0/live.js", "/nothing"])
def test_what_is_not_there_is_not_found(client, path):
    """An unknown sweep, file or path is a 404."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", f"/s/{NAME}", f"/s/{NAME}/stream"])
def test_only_reading_methods_are_answered(client, method, path):
    """No route takes anything but GET and HEAD."""
    assert client.request(method, path).status_code == 405


def test_the_figures_are_compressed_once_and_are_the_reports(client):
    """The figures come with their sections, without tests or p values while runs are to come."""
    client.get(f"/s/{NAME}")
    found = client.get(f"/s/{NAME}/figures").json()
    assert "response-minority_accuracy" in [figure["id"] for figure in found["figures"]]
    text = found["regions"]["answer"] + found["regions"]["sections"]
    assert "p value" not in text
    assert "differences" not in re.findall(r'id="([\w-]+)"', text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8081"}, 200),
        ({"host": "localhost:8081"}, 200),
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1:80"}, 400),
        ({"host": "127.0.0.1:8081", "origin": "http://evil.example"}, 403),
    ],
)
def test_the_gate_answers_its_own_address_only(url, headers, status):
    """A page of another site cannot read the live page, whatever name it has for this machine."""
    watcher = Watcher(WatchedDatabase(url))
    app = gated(watcher, port=8081)
    assert isinstance(app, ReadOnlyApp)
    assert TestClient(app).get("/", headers=headers).status_code == status
    watcher.close()


def test_a_token_is_asked_for_and_moves_into_a_cookie(url):
    """With a token nothing is shown without it; with it pages name the machines."""
    watcher = Watcher(WatchedDatabase(url, hosts=True))
    token = new_token()
    app = gated(watcher, port=8081, token=token)
    opened = TestClient(app, base_url="http://127.0.0.1:8081")
    assert opened.get(f"/s/{NAME}").status_code == 401
    assert opened.get(f"/s/{NAME}?token=wrong").status_code == 401
    answer = opened.get(f"/s/{NAME}?token={token}")
    assert "token" not in str(answer.url)
    assert "node-1" in answer.text
    assert opened.get("/").status_code == 200
    watcher.close()


def test_the_database_cannot_be_written(url, play):
    """The connection itself refuses a write."""
    source = WatchedDatabase(url)
    with pytest.raises(Exception, match=r"read-only|readonly|cannot be written"):
        source.store.update_sweep(play.lease, state="complete")
    source.close()


def test_the_state_in_the_page_is_the_stream_so_far(client):
    """The page carries the number of the last change, from which the stream goes on."""
    text = client.get(f"/s/{NAME}").text
    [carried] = re.findall(r'id="state">(.*?)</script>', text)
    state = json.loads(carried)
    board, number = state["cursor"].split("-")
    assert board
    assert int(number) > 0
    assert len(state["codes"]) == 12
    assert sum(row[1] for row in state["plan"]["rows"]) == 12
