"""Supervisors and drivers over a real database, in an order that is drawn from a seed.

Supervisors die between any two of their steps, lose the lead while they decide, and write late.
Drivers start, work, crash, and read their orders at any moment. Everything happens in one thread;
what would be silence of 40 seconds is written into the database.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import update

from sweeper.errors import HeldError, LeaseLost
from sweeper.service.drivers import DriverProcesses, ServiceFolder
from sweeper.service.fair import FairPolicy, Supply
from sweeper.service.supervisor import Offer, Supervisor
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.lease import EXPIRY
from sweeper.store.orders import OrderBook
from sweeper.store.records import Lease, NewSweep
from sweeper.store.service_records import (
    DriverStart,
    Leadership,
    Needs,
    NewSubmission,
    Priority,
    State,
    Submission,
    Verb,
)
from sweeper.store.service_tables import LeaderTable
from sweeper.store.tables import LeaseTable
from sweeper.store.wishes import Wishes

T = TypeVar("T")
ROOM, SWEEPS, WORK = 4, 6, 4
TROUBLED = 150  # events with faults; afterwards there are none
MOST = 3000  # events until everything must have finished


class SupervisorDied(BaseException):
    """A supervisor ends here. Not an Exception, so that nothing on the way catches it."""


class PlayedDriver:
    """A driver's process; each act is one step of it, and other things happen in between.

    Attributes:
        returncode: as of `subprocess.Popen`.
    """

    def __init__(self, world: SupervisedWorld, name: str) -> None:
        self._world, self.name = world, name
        self.returncode: int | None = None
        self._lease: Lease | None = None
        self._book = OrderBook(world.store.database, name)

    def poll(self) -> int | None:
        return self.returncode

    def act(self) -> None:
        """Takes the lease; later reads its orders, and works for a moment."""
        store = self._world.store
        if self._lease is None:
            self._begin()
            return
        orders = self._book.read()
        try:
            if orders.stop:
                if orders.preempted:
                    self._world.check_drain(self.name)
                self._end("interrupted", 130)
                return
            store.update_sweep(self._lease, state="running", state_reason="")
        except LeaseLost:
            self.returncode = 5
            return
        self._world.done[self.name] += 1
        if self._world.done[self.name] >= WORK:
            self._end("complete", 0)

    def crash(self) -> None:
        """Dies; its lease stays held until it has expired."""
        self.returncode = -9
        if self._lease is not None:
            self._world.expire(LeaseTable, LeaseTable.sweep_id == self._lease.sweep_id)

    def _begin(self) -> None:
        store = self._world.store
        new = NewSweep(
            name=self.name, question="", spec_text="", spec={}, layout=(), facts={}, provenance={}
        )
        sweep = store.create_sweep(new)
        try:
            self._lease = store.acquire(sweep.id, {"host": "elsewhere", "pid": id(self)})
        except HeldError:
            self.returncode = 5
            return
        if self.name not in self._world.wishes.grants():
            self._world.unforeseen.add(self.name)
        if self._world.done[self.name] >= WORK:  # there is nothing to do
            self._end("complete", 0)

    def _end(self, state: str, code: int) -> None:
        assert self._lease is not None
        self._world.store.update_sweep(self._lease, state=state, state_reason="")
        self._world.store.release(self._lease)
        self.returncode = code


class PlayedProcesses(DriverProcesses):
    """Starts played drivers, as a supervisor on a machine of its own would."""

    def __init__(self, world: SupervisedWorld) -> None:
        super().__init__(world.folder, storage="")
        self._world = world

    def start(self, driver: DriverStart, one: Submission) -> dict[str, Any]:
        self._world.maybe_die()  # the start is stored, and no process exists
        process: Any = PlayedDriver(self._world, one.name)
        self._world.processes.append(process)
        self._children[driver.id] = process
        self._world.maybe_die()  # the process exists, and its number is not stored
        return {"host": "elsewhere", "pid": driver.id, "started": "", "machine": ""}


class InterruptedLeading(Leading):
    """The writes of a supervisor that may die, or be late, before each of them."""

    def __init__(self, world: SupervisedWorld) -> None:
        super().__init__(world.store.database)
        self._world = world

    def fenced(self, lead: Leadership, work: Callable[[Any], T]) -> T:
        self._world.maybe_die()
        self._world.maybe_replace(lead)
        return super().fenced(lead, work)


class SupervisedWorld:
    """One database, two supervisors, and the drivers that they start.

    Attributes:
        done: pieces of work of each sweep.
        changes: of the leader.
        unforeseen: sweeps with a driver that was taken for dead before it had its lease.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice, self.troubled = random.Random(seed), True
        self.store = Store.open(f"sqlite:///{folder}/{seed}.db", create=True)
        self.folder = ServiceFolder(folder / str(seed))
        self.wishes = Wishes(self.store.database)
        self.processes: list[PlayedDriver] = []
        self.done = {f"s{number}": 0 for number in range(SWEEPS)}
        self.changes, self._replacing = 0, False
        self.unforeseen = set[str]()
        self._waiting = list(self.done)
        self._leader: Supervisor | None = None
        self.supervisors = [self._supervisor() for _ in range(2)]

    def run(self) -> None:
        """Lets events happen until every sweep has finished."""
        for number in range(MOST):
            self.troubled = number < TROUBLED
            self._event()
            self._check_grants()
            if not self._waiting and not self.troubled and self._finished():
                return
        raise AssertionError({name: self._state(name) for name in self.done})

    # --- what happens

    def _event(self) -> None:
        if self._waiting and self.dice.random() < 0.1:
            self._submit(self._waiting.pop(0))
        living = [one for one in self.processes if one.returncode is None]
        if living and self.dice.random() < 0.6:
            one = self.dice.choice(living)
            if self.troubled and self.dice.random() < 0.08:
                one.crash()
            else:
                one.act()
        elif self.troubled and self.dice.random() < 0.1:
            self._command()
        else:
            self._step(self.dice.randrange(2))

    def _submit(self, name: str) -> None:
        needs = Needs(workers=self.dice.randint(1, 3))
        priority = self.dice.choice(list(Priority))
        new = NewSubmission(
            name=name,
            owner=self.dice.choice("ab"),
            spec_text=f"name: {name}\n",
            needs=needs,
            priority=priority,
            key=name,
        )
        self.wishes.submit(new, who="ann")

    def _command(self) -> None:
        """Stops a sweep, and wants it again."""
        known = [one for one in self.done if one not in self._waiting]
        if known:
            name = self.dice.choice(known)
            for verb in (Verb.STOP, Verb.RESUME):
                self.wishes.command(name, verb, who="ann", key=f"{verb} {self.dice.random()}")

    def _step(self, index: int) -> None:
        one = self.supervisors[index]
        before, self._leader = self._leader, one
        try:
            one.step()
        except HeldError:
            self._leader = before
        except LeaseLost:
            self.supervisors[index] = self._supervisor()
        except SupervisorDied:
            self.supervisors[index] = self._supervisor()
            self.expire(LeaderTable)

    def maybe_die(self) -> None:
        if self.troubled and not self._replacing and self.dice.random() < 0.03:
            raise SupervisorDied

    def maybe_replace(self, lead: Leadership) -> None:
        """Lets the other supervisor take the lead over and decide, in the middle of a step."""
        if not self.troubled or self._replacing or self.dice.random() > 0.05:
            return
        self._replacing = True
        self.expire(LeaderTable)
        [other] = [one for one in self.supervisors if one is not self._leader]
        other._lead = None
        other.step()
        self.changes += 1
        self._replacing = False

    def expire(self, table: Any, *which: Any) -> None:
        """As if the holder of a lease had been silent for long."""
        query = update(table).where(*which).values(beat_at=table.beat_at - EXPIRY - 5)
        self.store.database.write(lambda connection: connection.execute(query))

    def _supervisor(self) -> Supervisor:
        offer = Offer(room=Supply(float(ROOM)), policy=FairPolicy(min_run_s=0.0))
        return Supervisor(InterruptedLeading(self), PlayedProcesses(self), offer)

    # --- what must be true

    def _check_grants(self) -> None:
        """No more is handed out than there is, but what an unforeseen driver takes."""
        grants = self.wishes.grants()
        foreseen = [one.workers for one in grants.values() if one.sweep not in self.unforeseen]
        assert sum(foreseen) <= ROOM, grants

    def check_drain(self, name: str) -> None:
        """A driver makes room for the leader of now, and for no earlier one."""
        from sqlalchemy import select

        query = select(LeaderTable.epoch)
        epoch = self.store.database.read(lambda connection: connection.execute(query).scalar())
        assert self.wishes.grants()[name].epoch == epoch

    def _finished(self) -> bool:
        return all(self._state(name) is State.COMPLETE for name in self.done)

    def _state(self, name: str) -> State | None:
        one = self.wishes.submission(name)
        assert one is not None
        standing = self.wishes.standings([one.id]).get(one.id)
        return standing.state if standing and standing.generation == one.generation else None
