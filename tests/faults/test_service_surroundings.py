"""Faults around a service with everything up: its database, Ray's head, old drivers, poison.

Drivers are small processes that take a sweep's lease as a launch does, and play its end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import acting
import history
import pytest
from asking import HOST, ask
from clusters import Cluster
from command import TINY
from later import become_newer
from patience import eventually
from places import SPEC
from proxy import proxied
from servers import Server
from sites import Here
from supervised import Scene, driver, played

from sweeper.service import deciding, drivers
from sweeper.service import supervisor as supervisors
from sweeper.service.access import new_token
from sweeper.service.desk import Desk
from sweeper.service.drivers import DriverProcesses
from sweeper.service.fair import Supply
from sweeper.service.gate import Gate
from sweeper.service.routes import ROOT, application
from sweeper.service.supervisor import Offer, Supervisor
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store import store as stores
from sweeper.store.accounts import Accounts
from sweeper.store.service_records import Role, State

REAL = (sys.executable, "-P", "-c", "from sweeper.cli import main; main()")
SHORT = 1.0  # seconds in which a database must answer here

# --- Ray

NEEDS_HEAD = """
import sys
from pathlib import Path
if not Path("../head").exists():
    print("sweeper: --ray-address: no server answers")
    sys.exit(6)
"""
LOSES_HEAD = """if not Path("../head").exists(): code, state = 1, "interrupted"; break"""


@pytest.mark.parametrize("number", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_ray_s_head_restarts_while_drivers_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No sweep is blamed: each driver starts again, however often it finds no cluster."""
    played(monkeypatch, driver(first=NEEDS_HEAD, look=LOSES_HEAD))
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    head, names = scene.folder.path / "head", [f"s{index}" for index in range(number)]
    head.touch()
    supervisor = scene.another(offer=Offer(room=Supply(float(number))))
    for name in names:
        scene.submit(name)
    scene.until(lambda: all(map(scene.alive, names)), supervisor)
    head.unlink()
    tries = deciding.MOST_FAILURES + 1
    scene.until(
        lambda: all(scene.starts(name).count((6, True)) >= tries for name in names), supervisor
    )
    assert {scene.state(name) for name in names} <= {State.QUEUED, State.RUNNING}
    head.touch()
    scene.until(lambda: all(map(scene.alive, names)), supervisor)
    scene.let_go()
    scene.until(lambda: all(scene.state(name) is State.COMPLETE for name in names), supervisor)
    for name in names:
        first, *between, last = scene.codes(name)
        assert (first, set(between), last) == (1, {6}, 0)


@pytest.mark.soak
def test_a_node_and_the_head_are_lost_while_workers_are_granted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undisturbed: Path
) -> None:
    """With a real cluster: a lost node costs no start, a lost cluster none that counts."""
    monkeypatch.setattr(drivers, "SWEEPER", REAL)
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    hold = acting.Hold(tmp_path, rounds=1)
    with Cluster() as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        options = ("--ray-address", cluster.address, "--plugin", str(hold.plugin))
        supervisor = scene.another(partial(DriverProcesses, options=options))
        node = cluster.join()
        scene.submit("faults", text=SPEC, workers=2)
        scene.until(hold.holds, supervisor)
        node.die()
        scene.until(lambda: Ending.NODE_LOST in endings(scene), supervisor)
        assert scene.starts("faults") == [(None, False)]
        assert scene.wishes.grants()["faults"].workers == 2
        cluster.join(cpus=2)
        for one in cluster.nodes:  # a node ends with its head, some time after it
            one.die()
        scene.until(lambda: (6, True) in scene.starts("faults"), supervisor)
        hold.let_go()
        cluster.start_head()
        cluster.join(cpus=2)
        scene.until(lambda: scene.state("faults") is State.COMPLETE, supervisor)
    first, *between, last = scene.codes("faults")
    assert (first, set(between), last) == (1, {6}, 0)
    history.check(scene.url, "faults", rounds=3, like=f"sqlite:///{undisturbed}")


def endings(scene: Scene) -> set[Ending | None]:
    """How attempts of the only sweep have ended."""
    [sweep] = scene.store.sweeps()
    return {one.ending for one in scene.store.attempts(sweep.id)}


# --- an old driver and a new schema


def test_an_old_driver_and_a_new_schema(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that runs ends its sweep; one that starts afterwards refuses, and changes nothing.

    Once the driver's machine has the newer Sweeper too, resume is enough.
    """
    scene.submit("runs")
    scene.until(lambda: scene.alive("runs"))
    with pytest.MonkeyPatch.context() as newer:
        become_newer(tmp_path, newer)
        Store.open(scene.url, create=True).close()
        scene.until(lambda: scene.alive("runs"))
        scene.let_go()
        scene.until(lambda: scene.state("runs") is State.COMPLETE)
        assert scene.codes("runs") == [0]
        monkeypatch.setattr(drivers, "SWEEPER", REAL)
        scene.submit("tiny", text=TINY)
        scene.until(lambda: scene.state("tiny") is State.ATTENTION)
        [event] = [it for it in scene.wishes.events(name="tiny") if it.what == "attention"]
        assert "made by a newer Sweeper (schema later" in event.why
        assert event.why.endswith("upgrade Sweeper")
        assert scene.codes("tiny") == [2]
        assert [sweep.name for sweep in scene.store.sweeps()] == ["runs"]
        Store.open(scene.url, create=True).close()  # it is what it was for the newer one
    assert len(list(tmp_path.glob("s.db.backup-*"))) == 1  # of the newer one


# --- poison

POISONOUS = """
import os, sys
from pathlib import Path
if Path("sweep.yaml").read_text().split()[1] == "poison":
    sys.stdout.buffer.write(b"\\xff\\x00\\x1b[2J" * 100_000 + b"\\nsweeper: boom\\x00 \\x1b[31m\\n")
    sys.stdout.flush()
    os.abort()
"""


class RefusesWords(DriverProcesses):
    """Cannot start one sweep: the system refuses its command line."""

    def start(self, driver: Any, one: Any) -> Any:
        if one.name == "unspeakable":
            raise ValueError("embedded null byte")
        return super().start(driver, one)


def test_a_poison_spec_spoils_nothing_but_itself(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver dies with garbage in its log, or cannot be started at all; others finish."""
    played(monkeypatch, driver(first=POISONOUS))
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    supervisor = scene.another(RefusesWords, Offer(room=Supply(1.0)))
    for name in ("poison", "unspeakable", "good"):
        scene.submit(name)
    scene.let_go()
    scene.until(lambda: scene.state("good") is State.COMPLETE, supervisor)
    for name in ("poison", "unspeakable"):
        scene.until(lambda name=name: scene.state(name) is State.ATTENTION, supervisor)
    assert scene.codes("poison") == [-6] * deciding.MOST_FAILURES
    assert scene.codes("unspeakable") == [1] * deciding.MOST_FAILURES
    assert scene.codes("good") == [0]
    said = {
        name: [it.why for it in scene.wishes.events(name=name) if it.what == "attention"]
        for name in ("poison", "unspeakable")
    }
    assert said["unspeakable"][0].endswith("the driver cannot be started: embedded null byte")
    assert said["poison"][0].endswith("its last line: boom   [31m")
    assert said["poison"][0].isprintable()


# --- the database


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that looks all the time, and answers of a database awaited for a moment."""
    monkeypatch.setattr(supervisors, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(stores, "LIMIT_SECONDS", SHORT)


class Running:
    """A supervisor at work in a thread, and what it has said."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.said: list[str] = []
        supervisor._say = lambda text, **_: self.said.append(text)

    def trouble(self) -> bool:
        return any(one.startswith("trying again:") for one in self.said)


@contextmanager
def running(supervisor: Supervisor) -> Iterator[Running]:
    stop, seen = threading.Event(), Running(supervisor)
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(supervisor.run, stop)
        try:
            yield seen
        finally:
            stop.set()
        work.result()


def api(store: Store, scene: Scene) -> tuple[Any, str]:
    """The API over a database, and a reader's token."""
    checker: Any = Here()
    desk = Desk(store, checker=checker, folder=scene.folder)
    token, _ = new_token(
        Accounts(scene.store.database),
        label="",
        owner="ann",
        role=Role.SUBMITTER,
        days=None,
        who="test",
    )
    routes: Any = application(desk)
    return Gate(routes, hosts=frozenset({HOST}), known=desk.known), token


@pytest.mark.usefixtures("small_drivers", "quick")
def test_a_database_that_is_restarted_or_cut_off_with_everything_up(
    tmp_path: Path, server: Server
) -> None:
    """Nothing is started twice and no lead changes; the API answers 503, and then as before.

    First the server crashes under supervisor, API and driver. Then a network holds whatever the
    supervisor and the API send, and acknowledges it: the driver, which reaches the server in
    another way, ends its sweep meanwhile.
    """
    inner = server.make_database()
    with proxied(server) as proxy:
        scene = Scene(tmp_path, inner, proxy.through(inner))
        scene.own.attend(lambda: False)
        scene.own.database.patience = SHORT
        app, token = api(scene.own, scene)

        def shown() -> tuple[int, Any]:
            answer = ask(app, "GET", f"{ROOT}/sweeps/a", token=token)
            return answer.status, answer.json

        try:
            scene.submit("a")
            with running(scene.supervisor) as first:
                eventually(lambda: scene.alive("a"), "the driver does not start")
                server.stop()
                eventually(first.trouble, "the supervisor does not notice")
                assert shown()[0] == 503
                server.start()
                eventually(lambda: shown()[0] == 200, "the API does not go on")
                assert shown()[1]["submission"]["state"] == "running"
            with running(scene.supervisor) as second:
                eventually(lambda: second.said, "the supervisor does not lead")
                proxy.hold()
                eventually(second.trouble, "the supervisor does not notice")
                assert shown()[0] == 503
                scene.let_go()
                eventually(lambda: not scene.alive("a"), "the driver does not end")
                proxy.let_go()
                eventually(
                    lambda: scene.state("a") is State.COMPLETE, "the supervisor does not go on"
                )
                assert shown()[1]["submission"]["state"] == "complete"
            assert scene.codes("a") == [0]
            leader = scene.wishes.leader()
            assert leader is not None
            assert scene.leading.take({"host": "another", "pid": 1}).epoch == 3
        finally:
            scene.close()
