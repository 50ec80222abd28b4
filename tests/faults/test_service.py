"""The supervisor and its drivers, with real processes: kills, crashes, double starts, stops.

Most drivers here are small processes that take a sweep's lease as a launch does, and play its end;
the last test runs the whole service with real launches.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import acting
import pytest
from command import environment
from patience import eventually
from receiving import Mailbox, mailbox
from supervised import Scene, driver, played

from sweeper.errors import DatabaseLost, HeldError, LeaseLost
from sweeper.service import deciding, drivers
from sweeper.service import supervisor as supervisors
from sweeper.service.client import Service
from sweeper.service.drivers import DriverProcesses
from sweeper.service.fair import FairPolicy, Supply
from sweeper.service.noticing import Patience, Watchman
from sweeper.service.supervisor import Offer, Supervisor
from sweeper.store import Store
from sweeper.store.accounts import Accounts
from sweeper.store.outbox import Outbox
from sweeper.store.service_records import Owner, Priority, State, Verb

CRASHING = "import sys; print('sweeper: boom'); sys.exit(7)"


def test_two_sweeps_run_and_finish(scene: Scene) -> None:
    """Each is started once, and both are complete when their drivers have ended with 0."""
    for name in ("a", "b"):
        scene.submit(name)
    scene.until(lambda: scene.alive("a") and scene.alive("b"))
    assert [scene.state(name) for name in "ab"] == [State.RUNNING] * 2
    scene.let_go()
    scene.until(lambda: scene.state("a") is scene.state("b") is State.COMPLETE)
    assert scene.starts("a") == scene.starts("b") == [(0, True)]


class Killed(BaseException):
    """The supervisor dies here."""


class DiesAfterTheStart(DriverProcesses):
    """Starts the process and dies before it can be recorded."""

    def start(self, driver: Any, one: Any) -> Any:
        super().start(driver, one)
        raise Killed


class DiesBeforeTheStart(DriverProcesses):
    """Dies when the start is recorded and no process exists."""

    def start(self, driver: Any, one: Any) -> Any:
        raise Killed


def test_a_supervisor_that_dies_between_start_and_record_starts_nothing_twice(
    scene: Scene,
) -> None:
    """The next one sees the sweep's lease, and what its driver said at the end."""
    scene.submit("a")
    first = scene.another(DiesAfterTheStart)
    with pytest.raises(Killed):
        first.step()
    scene.lose_the_lead()
    eventually(lambda: scene.alive("a"), "the driver does not take its lease")
    for _ in range(3):
        scene.supervisor.step()
    assert scene.starts("a") == [(None, False)]
    scene.let_go()
    eventually(lambda: not scene.alive("a"), "the driver does not end")
    assert scene.wishes.leader() is not None
    one = scene.wishes.submission("a")
    assert one is not None
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(drivers, "GRACE_S", 0.0)
        scene.until(lambda: scene.state("a") is State.COMPLETE)
    assert scene.starts("a") == [(0, True)]


def test_a_start_without_a_process_is_made_up_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that a driver needs to take its lease."""
    scene.submit("a")
    with pytest.raises(Killed):
        scene.another(DiesBeforeTheStart).step()
    scene.lose_the_lead()
    scene.supervisor.step()
    assert scene.starts("a") == [(None, False)]
    monkeypatch.setattr(drivers, "GRACE_S", 0.0)
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    scene.let_go()
    scene.until(lambda: scene.state("a") is State.COMPLETE)
    assert scene.starts("a") == [(None, True), (0, True)]


def test_a_double_start_is_harmless(scene: Scene) -> None:
    """The second driver exits with 5, which counts against nothing."""
    scene.submit("a")
    scene.until(lambda: scene.alive("a"))
    one = scene.wishes.submission("a")
    assert one is not None
    scene.another()
    driver = scene.wishes.drivers(one.id)[0]
    scene.made[-1].start(driver, one)
    assert scene.made[-1]._children[driver.id].wait() == 5
    scene.let_go()
    scene.until(lambda: scene.state("a") is State.COMPLETE)


def test_two_supervisors_of_which_one_leads(scene: Scene) -> None:
    """The other one starts nothing; one that lost the lead stops at its next write."""
    scene.submit("a")
    scene.supervisor.step()
    second = scene.another()
    with pytest.raises(HeldError):
        second.step()
    scene.lose_the_lead()
    second.step()
    scene.submit("b")
    with pytest.raises(LeaseLost):
        scene.supervisor.step()
    assert scene.starts("b") == []
    scene.let_go()
    for name in ("a", "b"):
        scene.until(lambda name=name: scene.state(name) is State.COMPLETE, second)
    assert scene.starts("a") == scene.starts("b") == [(0, True)]


def test_a_supervisor_that_is_cut_from_the_database_goes_on_afterwards(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same lead; the driver runs meanwhile, and nothing is started twice."""
    scene.submit("a")
    scene.until(lambda: scene.alive("a"))
    said: list[str] = []
    cut = [True]
    look = scene.leading.scene

    def scene_or_not() -> Any:
        if cut[0]:
            raise DatabaseLost("the database does not answer")
        return look()

    monkeypatch.setattr(scene.leading, "scene", scene_or_not)
    monkeypatch.setattr(supervisors, "LOOK_SECONDS", 0.01)
    scene.supervisor._say = lambda text, **_: said.append(text)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(scene.supervisor.run, stop)
        try:
            eventually(lambda: said, "it says nothing")
            assert said == ["trying again: the database does not answer"]
            cut[0] = False
            scene.let_go()
            eventually(lambda: scene.state("a") is State.COMPLETE, "it does not go on")
        finally:
            stop.set()
        running.result()
    assert scene.starts("a") == [(0, True)]
    assert scene.leading.take({"host": "another", "pid": 1}).epoch == 2


def test_a_driver_that_is_killed_is_started_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is seen at once, though its lease says nothing yet."""
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    scene.submit("a")
    scene.until(lambda: scene.alive("a"))
    one = scene.wishes.submission("a")
    assert one is not None
    os.kill(scene.wishes.drivers(one.id)[0].holder["pid"], signal.SIGKILL)
    scene.until(lambda: len(scene.starts("a")) == 2)
    assert scene.wishes.drivers(one.id)[0].error == "signal 9 ended it (Killed)"
    scene.let_go()
    scene.until(lambda: scene.state("a") is State.COMPLETE)
    assert scene.starts("a") == [(-9, True), (0, True)]


def test_a_driver_that_crashes_at_once_always_needs_attention(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five starts, with its last words; resume tries again."""
    played(monkeypatch, CRASHING)
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    scene.submit("a")
    scene.until(lambda: scene.state("a") is State.ATTENTION)
    assert scene.starts("a") == [(7, True)] * 5
    [event] = [it for it in scene.wishes.events(name="a") if it.what == "attention"]
    assert event.why == "5 starts without progress; the last: boom"
    for _ in range(3):
        scene.supervisor.step()
    assert len(scene.starts("a")) == 5
    played(monkeypatch, driver())
    scene.let_go()
    scene.wishes.command("a", Verb.RESUME, who="ann", key="r")
    scene.until(lambda: scene.state("a") is State.COMPLETE)


def test_stop_resume_and_cancel(scene: Scene) -> None:
    """A running driver reads the wish itself; the command is done when the fact is."""
    for name in ("a", "b", "c"):
        scene.submit(name)
    scene.until(lambda: scene.alive("a") and scene.alive("b"))
    assert scene.state("c") is State.QUEUED
    scene.wishes.command("c", Verb.CANCEL, who="ann", key="cancel c")
    scene.wishes.command("a", Verb.STOP, who="ann", key="stop a")
    scene.wishes.command("a", Verb.RESUME, who="ann", key="resume a")
    scene.wishes.command("a", Verb.STOP, who="ann", key="stop a again")
    scene.until(lambda: scene.state("a") is State.STOPPED)
    assert scene.state("c") is State.CANCELLED
    assert scene.starts("a") == [(130, True)]
    assert scene.starts("c") == []
    outcomes = {it.key: it.outcome for name in "ac" for it in scene.wishes.commands(name)}
    assert outcomes == {
        "cancel c": "cancelled", "stop a": "stopped", "resume a": "stopped",
        "stop a again": "stopped",
    }  # fmt: skip
    scene.wishes.command("a", Verb.RESUME, who="ann", key="resume at last")
    scene.let_go()
    scene.until(lambda: scene.state("a") is scene.state("b") is State.COMPLETE)
    assert scene.starts("a") == [(130, True), (0, True)]


def test_a_higher_class_gets_the_workers_of_a_lower_one(scene: Scene) -> None:
    """Its driver ends after the round, uncounted, and goes on at its place afterwards."""
    offer = Offer(room=Supply(1.0), policy=FairPolicy(min_run_s=0.0))
    supervisor = scene.another(offer=offer)
    scene.submit("low", priority=Priority.LOW)
    scene.until(lambda: scene.alive("low"), supervisor)
    scene.submit("high", priority=Priority.HIGH)
    scene.until(lambda: scene.alive("high"), supervisor)
    assert scene.starts("low") == [(130, True)]
    assert scene.state("low") is State.QUEUED
    reasons = [event.why for event in scene.wishes.events(name="low") if event.what == "drain"]
    assert reasons == ["preempted: it makes room for high (ann, high)"]
    scene.let_go()
    scene.until(lambda: scene.state("low") is State.COMPLETE, supervisor)
    assert scene.starts("low") == [(130, True), (0, True)]
    assert scene.starts("high") == [(0, True)]


def test_an_owner_who_has_used_everything_ends_the_round(scene: Scene) -> None:
    """The driver drains, uncounted; the sweep goes on once the limit is raised."""
    accounts = Accounts(scene.store.database)
    accounts.set_owner(Owner(owner="ann", most_hours=1.0), who="root")
    scene.submit("a")
    scene.until(lambda: scene.alive("a"))
    lead = scene.supervisor._lead
    assert lead is not None
    scene.leading.record(lead, usage={"ann": 3600.0})
    scene.until(lambda: scene.state("a") is State.QUEUED)
    assert scene.starts("a") == [(130, True)]
    [drained] = [event.why for event in scene.wishes.events(name="a") if event.what == "drain"]
    assert drained == "ann has used 1.0 of 1 hours"
    accounts.set_owner(Owner(owner="ann", most_hours=2.0), who="root")
    scene.let_go()
    scene.until(lambda: scene.state("a") is State.COMPLETE)
    assert scene.starts("a") == [(130, True), (0, True)]


def test_a_sweep_that_records_nothing_needs_attention(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message each: no progress, then needs attention; whoever resumes it tries again."""
    monkeypatch.setattr(supervisors.leases, "BEAT", 0.0)
    watchman = Watchman(patience=Patience(notice_s=0.0, stop_s=0.5))
    supervisor = Supervisor(
        scene.leading, scene.made[0], Offer(room=Supply(2.0)), receivers=("r",), watchman=watchman
    )
    scene.submit("a")
    scene.until(lambda: scene.state("a") is State.ATTENTION, supervisor)
    assert scene.starts("a") == [(130, True)]
    messages = Outbox(scene.store.database).messages("a")
    assert [one.body["event"] for one in messages] == ["no progress", "needs attention"]
    assert messages[1].body["reason"].startswith("no progress for ")
    watchman.patience = Patience()
    scene.wishes.command("a", Verb.RESUME, who="ann", key="again")
    scene.let_go()
    scene.until(lambda: scene.state("a") is State.COMPLETE, supervisor)


# --- the whole service, with real launches

SPEC = """
name: served
data: {dataset: digits}
train: {epochs: 3}
scientific: {train.lr: [0.03, 0.1, 0.3]}
replicates: 2
resources: {pack: 2, workers: 1}
"""


def process_of(words: str) -> int | None:
    """The process whose command line has these words."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in line:
                    return int(entry.name)
    return None


def test_the_service_survives_the_death_of_its_processes(tmp_path: Path) -> None:
    """API, supervisor and driver are killed in turn; every number is the undisturbed one's.

    One message says that it has finished, with the verdict.
    """
    with mailbox() as box:
        _survive(tmp_path, box)
    assert box.events() == ["finished"]
    [body] = box.bodies
    assert body["verdict"]
    assert body["link"].endswith("/s/served")


def _survive(tmp_path: Path, box: Mailbox) -> None:
    plugin = acting.write(tmp_path, seconds=0.3)
    words = ["--folder", str(tmp_path / "service"), "--port", "0", "--plugin", str(plugin)]
    words += ["--notify", box.url]
    code = "from sweeper.cli import main; main()"
    storage = f"sqlite:///{tmp_path}/s.db"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, "serve", *words],
        cwd=tmp_path,
        env=environment(SWEEPER_STORAGE=storage),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as served:
        assert served.stdout is not None
        try:
            lines = iter(served.stdout.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"^http://\S+", line)))
            token = (tmp_path / "service" / "admin-token").read_text().strip()
            service = Service(url, token)
            assert service.submit(SPEC, key="one")["new"]
            for kind in ("api", "supervisor"):
                number = process_of(f"--plugin {plugin} --only {kind}")
                assert number is not None
                os.kill(number, signal.SIGKILL)
            assert not service.submit(SPEC, key="one")["new"]
            with Store.open(storage, create=True) as store:
                eventually(lambda: _recorded(store) >= 2, "the driver records nothing")
                sweep = store.sweep("served")
                assert sweep is not None
                assert sweep.holder is not None
                os.kill(sweep.holder["pid"], signal.SIGKILL)
                eventually(
                    lambda: service.show("served")["submission"]["state"] == "complete",
                    "the sweep does not finish",
                )
                assert len(store.attempts(sweep.id)) >= 6
            shown = service.show("served")
            assert [one["exit_code"] for one in shown["submission"]["drivers"]][-1] == 0
            assert [event["what"] for event in shown["events"]].count("complete") == 1
            assert process_of("SECRET-PATH --only") is None
            eventually(lambda: box.keys, "no message comes")
            served.send_signal(signal.SIGTERM)
            assert served.wait() == 0
        finally:
            served.kill()
    acting.check_numbers(storage, "served", runs=6)


def _recorded(store: Store) -> int:
    sweep = store.sweep("served")
    return 0 if sweep is None else sum(run.epoch for run in store.runs(sweep.id))
