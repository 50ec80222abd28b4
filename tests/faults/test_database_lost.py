"""A database that is lost while a sweep runs: its file, its disk, its server's answers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import acting
import history
import pytest
from disks import Disk, NoDisk, small_disk
from patience import HANG, MOMENT, eventually
from places import Place, ended
from proxy import proxied

from sweeper.states import Ending, RunState
from sweeper.store import Store

SPEC = """
name: lost
data: {dataset: digits}
train: {epochs: 4, evaluations: 4, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 2}
"""
IMPATIENT = "with little patience"
NEVER_ANSWERED = "with answers awaited for ever"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        with small_disk(tmp_path / "small") as one:
            yield one
    except NoDisk as reason:
        pytest.skip(str(reason))


class Held:
    """A launch whose runs are held after their first round, recorded or not."""

    def __init__(self, place: Place, *, point: str = "never") -> None:
        self.place, self.plugin = place, acting.write(place.folder)
        self.hold = acting.Hold(place.folder, rounds=1)
        plugins = ("--plugin", str(self.plugin), "--plugin", str(self.hold.plugin))
        self.process = place.start(*plugins, point=point)
        eventually(self.hold.holds, "no round was ever ended", process=self.process)

    def goes_on(self) -> tuple[int, str]:
        """Returns the exit code and the message of one line, after the held runs are released."""
        self.hold.let_go()
        return self.ends()

    def ends(self) -> tuple[int, str]:
        code, output = ended(self.process)
        self.place.assert_no_process_left()
        return code, " ".join(output.split())

    def finishes(self) -> None:
        """Another launch does what is missing, and every number is what it must be."""
        code, output = self.place.run("--plugin", str(self.plugin))
        assert code == 0, output
        history.check(self.place.storage, "lost", rounds=4)
        acting.check_numbers(self.place.storage, "lost", runs=4)


def database_files(place: Place) -> list[Path]:
    return [path for path in place.folder.glob("sweep.db*") if path.is_file()]


def delete(place: Place) -> None:
    for path in database_files(place):
        path.unlink()


def replace(place: Place) -> None:
    """By a copy of itself, as a tool for backups may."""
    file = place.folder / "sweep.db"
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").replace(file)


@pytest.mark.parametrize(
    "strike", [delete, pytest.param(replace, marks=pytest.mark.soak)], ids=["deleted", "replaced"]
)
def test_35_a_database_file_that_is_gone_is_saved_and_said(
    make_place: Callable[..., Place], strike: Callable[[Place], None]
) -> None:
    """The launch ends with 1 and names the copy of all that was recorded, and how to continue.

    The copy has no run RUNNING and no holder; renamed, it is the sweep.
    """
    place = make_place("place", SPEC)
    held = Held(place)
    strike(place)
    code, said = held.goes_on()
    saved = place.folder / "sweep.db.saved-1"
    assert code == 1, said
    assert "sweep.db: the file was moved, deleted or replaced" in said
    assert f"All that was recorded is saved in {saved}" in said
    assert "and continue with: sweeper launch" in said
    history.check_nobody_runs(f"sqlite:///{saved}", "lost")
    delete_but(place, saved)
    saved.rename(place.folder / "sweep.db")
    held.finishes()


def delete_but(place: Place, kept: Path) -> None:
    for path in database_files(place):
        if not path.name.startswith(kept.name):
            path.unlink()


def test_35_a_full_disk_ends_the_launch_resumable(make_place, disk: Disk) -> None:
    """Exit 1 after one patience, with the command that goes on; no reader sees a run RUNNING.

    What was not committed is repeated once there is room.
    """
    place = make_place("place", SPEC, storage=f"sqlite:///{disk.folder}/sweep.db")
    held = Held(place, point=IMPATIENT)
    disk.fill()
    code, said = held.goes_on()
    assert code == 1, said
    assert "sweep.db: cannot be written" in said
    assert "Continue with: sweeper launch" in said
    disk.free()
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        assert sweep.state == "interrupted"
        assert store.counts(sweep.id)[RunState.RUNNING] == 0
        assert {a.ending for a in store.attempts(sweep.id)} == {Ending.CANCELLED}
    held.finishes()


@pytest.mark.soak
def test_33_two_signals_end_a_driver_whose_server_never_answers(make_place, server) -> None:
    """Its statement would wait for ever, and the heart-beat as well; the next launch goes on."""
    with proxied(server) as proxy:
        place = make_place("place", SPEC, storage=proxy.through(server.make_database()))
        held = Held(place, point=NEVER_ANSWERED)
        proxy.hold()
        held.hold.let_go()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(subprocess.TimeoutExpired):
                held.process.wait(timeout=MOMENT)
            held.process.send_signal(number)
        code, said = held.ends()
        assert code == 130, said
        assert "Continue with: sweeper launch" in said
        proxy.resume()
        held.finishes()


class Visitor:
    """Asks the dashboard for its studies and their trials, over and over."""

    def __init__(self, address: str) -> None:
        self._address, self._over = address, threading.Event()
        self.answers: list[int] = []
        self.failure = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            for path in ("/api/studies", "/api/studies/1?after=0"):
                try:
                    url = self._address + path
                    with urllib.request.urlopen(url, timeout=HANG) as answer:  # noqa: S310
                        answer.read()
                        self.answers.append(answer.status)
                except OSError as error:
                    self.failure = f"{path}: {error}"
                    return

    def leaves(self) -> None:
        self._over.set()
        self._thread.join(timeout=HANG)


@pytest.mark.soak
def test_34_and_36_a_dashboard_that_asks_throughout_and_no_room_for_checkpoints(
    make_place, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither delays the sweep: each request is answered, and the missing checkpoint is named."""
    monkeypatch.setenv("SWEEPER_CHECKPOINTS", str(disk.folder))
    place = make_place("place", SPEC + "limits: {checkpoint_seconds: 0.001}\n")
    disk.fill()
    held = Held(place)
    dashboard = place.start("--port", "0", verb="dashboard")
    assert dashboard.stdout is not None
    visitor = Visitor(dashboard.stdout.readline().strip())
    eventually(lambda: len(visitor.answers) > 2 or visitor.failure, "no answer", process=dashboard)
    held.hold.let_go()
    code, output = ended(held.process)
    asked = len(visitor.answers)
    eventually(lambda: len(visitor.answers) > asked or visitor.failure, "no answer")
    visitor.leaves()
    dashboard.send_signal(signal.SIGINT)
    ended(dashboard)
    assert code == 0, output
    assert "no checkpoint can be written" in " ".join(output.split())
    assert not visitor.failure
    assert set(visitor.answers) == {200}
    attempts = history.check(place.storage, "lost", rounds=4)
    assert all(a.number == 1 for a in attempts)


def test_36_a_report_that_finds_no_room_leaves_the_old_one(place, undisturbed, disk: Disk) -> None:
    """One line says so, and nothing half written is left."""
    place.storage = f"sqlite:///{undisturbed}"
    page = disk.folder / "page.html"
    page.write_text("the one before")
    disk.fill()
    code, output = place.run("--out", str(page), "--force", verb="report")
    assert code == 2, output
    assert "No space left on device" in output
    assert "Traceback" not in output
    assert page.read_text() == "the one before"
    assert sorted(path.name for path in disk.folder.iterdir()) == ["ballast", "page.html"]
