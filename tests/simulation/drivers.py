"""Played drivers: the real launch, from taking the lease to giving it back, on a virtual clock.

What a driver reaches outside of the database is played: its pool, its heart-beat's thread, its
clock. Every statement that it sends passes a gate where it may be slow, fail or be its last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from sweeper.engine import checkpoint_paths, driver, launching, provenance
from sweeper.engine.cells import CellMaker, Planned
from sweeper.engine.cluster import Capacity
from sweeper.engine.context import Request
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts
from sweeper.engine.room import Terms
from sweeper.errors import SweeperError
from sweeper.spec import Spec
from sweeper.states import Ending
from sweeper.store import Store, dialects
from sweeper.store import lease as leases
from sweeper.store import study as studies
from sweeper.store.database import Database, Waiting
from sweeper.store.dialects import Address
from tests.simulation.gate import Gate
from tests.simulation.training import Disk
from tests.simulation.workers import Nodes, WorkerPool
from tests.simulation.world import Lock, Process, World

WORKERS = 2


class PlayedHeartbeat(Heartbeat):
    """Beats in a played thread."""

    def __init__(
        self, world: World, beat: Callable[[], None], *, say: Callable[[str], None]
    ) -> None:
        super().__init__(beat, say=say)
        self._world = world

    def __enter__(self) -> Heartbeat:
        self._world.start(self._world.here(), self._beats)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _beats(self) -> None:
        self._world.sleep(self._seconds)
        while not self._stop.is_set() and self.step():
            self._world.sleep(self._seconds)


class Checkpoints:
    """In the place of `checkpoint_paths.Checkpoints`, on the played disk."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world, self._disk = world, disk

    def of_pack(self, sweep: int, *, pack: int) -> Path:
        return Path(f"{sweep}/{pack}")

    def remove(self, sweep: int, *, pack: int) -> None:
        self._world.here().check()
        self._disk.folders.pop(f"{sweep}/{pack}", None)


@dataclass(kw_only=True)
class Setting:
    """What all simulations of a process share: a sweep whose cells are made, in a template."""

    spec: Spec
    maker: CellMaker
    template: Path
    path: Path
    length: int
    gate: Gate
    storage: Any = field(
        default_factory=lambda: SimpleNamespace(
            remove_session=lambda: None, engine=SimpleNamespace(dispose=lambda: None)
        )
    )

    @property
    def url(self) -> str:
        """The URL of the database that all simulated sweeps use, one after another."""
        return f"sqlite:///{self.path}"

    @cached_property
    def address(self) -> Address:
        return dialects.parse(self.url)


class Driver:
    """One launch of the sweep, in a process of its own."""

    def __init__(self, plot: Plot, process: Process) -> None:
        self.plot, self.process, self.world = plot, process, plot.world
        self.interrupts = Interrupts()
        self.code: int | None = None
        self.retries = False
        self.pool: WorkerPool | None = None

    def main(self, command: Callable[[Driver, Store], int]) -> None:
        """Opens the store and does what is asked."""
        try:
            with self.plot.open() as store:
                store.attend(lambda: self.interrupts.count >= 2)
                self.code = command(self, store)
        except SweeperError as error:
            self.code = error.exit_code
            self._hear(f"{type(error).__name__}: {error}")
        finally:
            self.world.say(self.process.name, f"ends with {self.code}")
            self.world.kill(self.process)
            self.plot.ended(self)

    def acquire(self, store: Store) -> Any:
        """The lease of the sweep."""
        sweep = store.sweep(self.plot.setting.spec.name)
        assert sweep is not None
        lease = store.acquire(sweep.id, self.process.holder)
        self.world.say(self.process.name, f"has the lease, epoch {lease.epoch}")
        return lease

    def launch(self, store: Store) -> int:
        """`sweeper launch`."""
        setting = self.plot.setting
        cells = Planned(setting.spec, setting.maker)
        lease = self.acquire(store)
        request = Request(
            spec=setting.spec,
            storage=setting.url,
            interrupts=self.interrupts,
            say=self._hear,
            make_pool=self._make_pool,
            clock=lambda: self.world.now,
        )
        plan = {"maker": setting.maker, "cells": cells, "first": cells.first()}
        return driver._held(request, store, lease, plan).exit_code

    def _make_pool(self, terms: Terms, **_: object) -> Any:
        plot = self.plot
        self.pool = WorkerPool(
            self.world,
            self.process,
            plot.nodes,
            plot.disk,
            room=terms.most or 1,
            length=plot.setting.length,
        )
        return self.pool

    def retry(self, store: Store) -> int:
        """`sweeper retry`, of what failed by no fault of its own."""
        self.retries = True
        lease = self.acquire(store)
        wanted = [ending for ending in Ending if ending is not Ending.DIVERGED]
        store.retry_failed(lease, wanted)
        store.release(lease)
        return 0

    def _hear(self, what: object) -> None:
        self.process.check()
        if isinstance(what, str):  # not the folder, which has another name in each process
            text = what.replace(self.plot.setting.url, "sqlite:///sweep.db")
            self.world.say(self.process.name, text[:150])


class Plot:
    """One simulation: the sweep, its operator, and the drivers of its history."""

    def __init__(self, setting: Setting, world: World) -> None:
        self.setting, self.world = setting, world
        setting.gate.world = world
        self.disk = Disk()
        self.nodes = Nodes(world, ("node-1", "node-2"))
        self.drivers: list[Driver] = []
        self._processes: dict[tuple[str, int], Process] = {}

    # --- processes and the database

    def process(self, name: str) -> Process:
        """A new process, on one of two machines."""
        pid = len(self._processes) + 100
        host = self.world.dice.choice(("head-1", "head-2"))
        made = Process(name, host, pid, started=str(self.world.now))
        self._processes[host, pid] = made
        return made

    def lives(self, pid: int) -> str:
        """Replaces `lease._started`: returns what the simulated machine reports."""
        found = self._processes.get((self.world.here().host, pid))
        return found.started if found is not None and not found.dead else ""

    def open(self) -> Store:
        """The store, through the gate."""
        world = self.world
        waiting = Waiting(
            monotonic=lambda: world.now,
            sleep=world.hamper,
            uniform=world.dice.uniform,
            lock=lambda: Lock(world),
        )
        return Store(Database(self.setting.address, patience=60.0, waiting=waiting))

    # --- the operator

    def start(self, name: str, command: Callable[[Driver, Store], int]) -> Driver:
        """A new process that does this."""
        made = Driver(self, self.process(f"{name}-{len(self.drivers)}"))
        self.drivers.append(made)
        self.world.say(made.process.name, f"starts on {made.process.host}")
        self.world.start(made.process, lambda: made.main(command))
        return made

    def launch(self) -> None:
        self.start("driver", Driver.launch)

    def ended(self, one: Driver) -> None:
        """Does as an operator would: launches again until all is complete."""
        if any(not other.process.dead for other in self.drivers):
            return
        if one.code not in (driver.COMPLETE, driver.WITH_FAILURES) or one.retries:
            self._after(self.launch)
        elif self._unlucky():
            self._after(lambda: self.start("retry", Driver.retry))
        else:
            self.world.over = True

    def _unlucky(self) -> bool:
        """Whether a run has failed that would not fail each time."""
        query = "SELECT 1 FROM sweeper_run WHERE state = 'failed' AND ending <> 'diverged'"
        with closing(sqlite3.connect(self.setting.path)) as connection:
            return connection.execute(query).fetchone() is not None

    def close(self) -> None:
        """Lets go of every process: what is still open is rolled back."""
        for process in self._processes.values():
            self.world.kill(process)
        self.world.bury()

    def trouble(self) -> None:
        """Plans the faults, each about as often as the seed demands."""
        world, faults = self.world, self.world.faults
        world.every(faults.partition_every, self._partition)
        world.every(faults.full_disk_every, self._fill_disk)
        world.every(faults.jump_every, self._jump)
        world.every(faults.driver_death_every, lambda: self._some(self._kill))
        world.every(faults.stop_every, lambda: self._some(self._stop))
        world.every(faults.rival_every, self.launch)
        world.every(faults.signal_every, lambda: self._some(self._signal))
        world.every(faults.ray_death_every, lambda: self._some(self._end_ray))
        world.every(faults.node_death_every, self.nodes.kill_one)

    def _some(self, work: Callable[[Driver], None]) -> None:
        living = [one for one in self.drivers if not one.process.dead]
        if living:
            work(self.world.dice.choice(living))

    def _partition(self) -> None:
        def cut(one: Driver) -> None:
            lasts = self.world.dice.expovariate(1 / self.world.faults.partition_seconds)
            one.process.cut_off_until = self.world.now + lasts
            self.world.say(one.process.name, f"cut off from the database for {lasts:.1f} s")

        self._some(cut)

    def _fill_disk(self) -> None:
        def free() -> None:
            self.world.disk_full = False

        self.world.disk_full = True
        lasts = self.world.dice.expovariate(1 / self.world.faults.full_disk_seconds)
        self.world.say("disk", f"full for {lasts:.1f} s")
        self.world.at(lasts, free)

    def _jump(self) -> None:
        most = self.world.faults.jump_seconds
        self.world.jumped += self.world.dice.uniform(-most, most)
        self.world.say("database", f"its clock is {self.world.jumped:.0f} s ahead")

    def _stop(self, one: Driver) -> None:
        self.world.stop(one.process)

    def _kill(self, one: Driver) -> None:
        self.world.kill(one.process)

    def _signal(self, one: Driver) -> None:
        one.interrupts.count += 1
        self.world.say(one.process.name, f"signal {one.interrupts.count}")

    def _end_ray(self, one: Driver) -> None:
        self.world.say(one.process.name, "Ray has ended")
        if one.pool is not None:
            one.pool.end()
        one.interrupts.insist("Ray has ended by itself")

    def _after(self, work: Callable[[], Any]) -> None:
        def unless_somebody_has() -> None:
            if not self.world.over and all(one.process.dead for one in self.drivers):
                work()

        self.world.at(self.world.dice.uniform(0, 30), unless_somebody_has)

    # --- what is played in the place of the product

    @contextmanager
    def cluster(self, **_: object) -> Iterator[Capacity]:
        """In the place of Ray."""
        self.world.sleep(self.world.dice.uniform(1, 5))
        yield Capacity(cpus=WORKERS, gpus=0)

    @contextmanager
    def played(self) -> Iterator[None]:
        """Puts this plot in the place of what a driver reaches outside of the database."""
        world = self.world
        with ExitStack() as stack:
            for where, name, what in (
                (driver, "Heartbeat", partial(PlayedHeartbeat, world)),
                (driver, "Obedience", lambda *_: nullcontext()),
                (driver, "_watched", lambda *_: nullcontext()),
                (driver, "_write_note", lambda *_: None),
                (launching.cluster, "started", self.cluster),
                (dialects, "connect", lambda _: self.setting.gate.engine),
                (provenance, "collect", dict),
                (checkpoint_paths, "of", lambda _: Checkpoints(world, self.disk)),
                (studies, "_storage", lambda _: self.setting.storage),
                (leases, "_machine", lambda: world.here().host),
                (leases, "_started", self.lives),
            ):
                stack.enter_context(mock.patch.object(where, name, what))
            yield
