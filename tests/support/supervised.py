"""A supervisor that is stepped by hand, with drivers that are small programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import eventually
from sqlalchemy import update

from sweeper.service import drivers
from sweeper.service.drivers import DriverProcesses, ServiceFolder
from sweeper.service.fair import Supply
from sweeper.service.supervisor import Offer, Supervisor
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.lease import EXPIRY
from sweeper.store.service_records import Needs, NewSubmission, Priority, State
from sweeper.store.service_tables import LeaderTable
from sweeper.store.wishes import Wishes

# Takes a sweep's lease as a launch does, and ends when a test lets it go, or when it is told to.
PLAYED = """
import os, sys, time
from pathlib import Path
from sweeper.errors import HeldError
from sweeper.store import Store
from sweeper.store.lease import here
from sweeper.store.orders import OrderBook
from sweeper.store.records import NewSweep

name = Path("sweep.yaml").read_text().split()[1]
with Store.open(os.environ["SWEEPER_STORAGE"], create=True) as store:
    sweep = store.create_sweep(NewSweep(
        name=name, question="", spec_text="", spec={}, layout=(), facts={}, provenance={}))
    try:
        lease = store.acquire(sweep.id, here())
    except HeldError as error:
        print(error)
        sys.exit(5)
    store.update_sweep(lease, state="running", state_reason="")
    book, code, state = OrderBook(store.database, name), 0, "complete"
    while not Path("../let-go").exists():
        if book.read().stop:
            code, state = 130, "interrupted"
            break
        LOOK
        time.sleep(0.05)
    store.update_sweep(lease, state=state, state_reason="")
    store.release(lease)
sys.exit(code)
"""


def driver(*, first: str = "", look: str = "pass") -> str:
    """The program of a driver.

    Args:
        first: what it does before anything else.
        look: a line that it repeats while it runs.
    """
    return first + PLAYED.replace("LOOK", look)


def played(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Lets drivers be this program."""
    monkeypatch.setattr(drivers, "SWEEPER", (sys.executable, "-c", source))


class Scene:
    """A database with a supervisor that is stepped by hand.

    Args:
        url: of the database; empty: a file of its own.
        reached: the supervisor's own way to it.
    """

    def __init__(self, folder: Path, url: str = "", reached: str = "") -> None:
        self.url = url or f"sqlite:///{folder}/s.db"
        self.store = Store.open(self.url, create=True)
        self.folder = ServiceFolder(folder / "service")
        self.folder.make()
        self.wishes = Wishes(self.store.database)
        self.own = Store.open(reached, create=True) if reached else self.store
        self.leading = Leading(self.own.database)
        self.made: list[DriverProcesses] = []
        self.supervisor = self.another()

    def another(
        self, kind: Callable[..., DriverProcesses] = DriverProcesses, offer: Offer | None = None
    ) -> Supervisor:
        self.made.append(kind(self.folder, storage=self.url))
        return Supervisor(self.leading, self.made[-1], offer or Offer(room=Supply(2.0)))

    def submit(
        self,
        name: str,
        *,
        priority: Priority = Priority.NORMAL,
        text: str = "",
        workers: int = 1,
    ) -> None:
        new = NewSubmission(
            name=name,
            owner="ann",
            spec_text=text or f"name: {name}\n",
            needs=Needs(workers=workers),
            priority=priority,
            key=name,
        )
        self.wishes.submit(new, who="ann")

    def state(self, name: str) -> State | None:
        one = self.wishes.submission(name)
        assert one is not None
        standing = self.wishes.standings([one.id]).get(one.id)
        return None if standing is None else standing.state

    def starts(self, name: str) -> list[tuple[int | None, bool]]:
        """The exit code of each driver, and whether it has ended."""
        one = self.wishes.submission(name)
        assert one is not None
        return [(it.exit_code, it.ended_at is not None) for it in self.wishes.drivers(one.id)]

    def log(self, name: str) -> str:
        """What its drivers have printed lately."""
        one = self.wishes.submission(name)
        assert one is not None
        return self.folder.tail(one.id)

    def codes(self, name: str) -> list[int | None]:
        """The exit code of each driver; all have ended."""
        starts = self.starts(name)
        assert all(ended for _, ended in starts)
        return [code for code, _ in starts]

    def until(self, condition: Callable[[], object], supervisor: Supervisor | None = None) -> None:
        """Steps the supervisor until the condition holds."""

        def stepped() -> object:
            (supervisor or self.supervisor).step()
            return condition()

        eventually(stepped, "the supervisor does not get there")

    def alive(self, name: str) -> bool:
        sweep = self.store.sweep(name)
        return sweep is not None and sweep.alive

    def let_go(self) -> None:
        (self.folder.path / "let-go").touch()

    def lose_the_lead(self) -> None:
        """As if the supervisor had been silent for long."""
        old = update(LeaderTable).values(beat_at=LeaderTable.beat_at - EXPIRY - 5)
        self.store.database.write(lambda connection: connection.execute(old))

    def close(self) -> None:
        """Ends what is left."""
        self.let_go()
        for made in self.made:
            for child in made._children.values():
                child.wait()
        for store in {self.store, self.own}:
            store.close()
