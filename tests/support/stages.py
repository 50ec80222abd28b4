"""A conductor on a real database without Ray: the test plays the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sweeper.engine import data_facts
from sweeper.engine.cells import CellMaker, Planned
from sweeper.engine.conductor import Conductor
from sweeper.engine.context import Request, Session
from sweeper.engine.launching import Launch
from sweeper.engine.messages import Job, MemberResult, Message, PackProgress, Refusal
from sweeper.engine.packing import Packer
from sweeper.spec import parse
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store import lease as leases
from sweeper.store.records import NewSweep, Run

SPEC = """
name: staged
data: {dataset: digits}
train: {epochs: 3, batch_size: 32, evaluations: 3}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 4}
"""


@dataclass(eq=False)
class Hand:
    """Stands for a worker that the conductor talks to."""

    id: str = "t1"
    node: str = "here"

    dropped: list[int] = field(default_factory=list)
    saved: int = 0
    left: bool = False
    killed: bool = False

    def drop(self, runs: Sequence[int]) -> None:
        self.dropped += runs

    def save_now(self, *, timeout: float, give_up: Callable[[], bool]) -> bool:
        self.saved += 1
        return True

    def leave(self) -> None:
        self.left = True

    def kill(self) -> None:
        self.killed = True


@dataclass
class Stage:
    """What a test holds."""

    store: Store
    sweep_id: int
    conductor: Conductor
    launch: Launch
    clock: SimpleNamespace
    length: int
    objective: int  # on val
    tested: int  # the same on test
    said: list[object]  # events
    hand: Hand = field(default_factory=Hand)
    hands: dict[str, Hand] = field(default_factory=dict)

    def worker(self, name: str = "t1") -> Hand:
        """The worker of this name."""
        return self.hands.setdefault(name, self.hand if name == "t1" else Hand(id=name))

    def begin(self, worker: str = "t1") -> Job:
        """The next job, begun by this worker."""
        job = self.conductor.next_job(self.worker(worker))
        assert job is not None
        return job

    def lose(
        self, worker: str = "t1", ending: Ending = Ending.CRASHED, error: str = "it died"
    ) -> None:
        """A worker that is gone."""
        self.conductor.lost(self.worker(worker), ending, error)

    def say(
        self,
        job: Job,
        round: int,
        *,
        worker: str = "t1",
        value: Callable[[int], float] | None = None,
        end: Ending | None = None,
        ends: Mapping[int, Ending] | None = None,
        failure: tuple[Ending, str] | None = None,
        note: str = "",
        refusal: Refusal | None = None,
        unfit: str = "",
        skipped: bool = False,
    ) -> None:
        """One round of the pack, all members alike but for their value (of the run's place).

        `end` ends all members and the pack, `ends` some of them, by run. A round that is
        `skipped` ends without an evaluation.
        """
        dropped = set(self.worker(worker).dropped) | set(job.drops)
        members = [
            MemberResult(
                run=m.run, attempt=m.attempt, end=(ends or {}).get(m.run, end),
                numbers=None if skipped else self._numbers(value, place),
            )
            for place, m in enumerate(job.members)
            if m.run not in dropped
        ]  # fmt: skip
        reached = PackProgress(
            round=round, rounds=3, step=round, epoch=round,
            evaluation=0 if skipped else round,
        )  # fmt: skip
        message = Message(
            pack=job.pack, job=job.number, reached=reached, seconds=float(round), node="here",
            device="cpu", from_epoch=0,
            members=() if failure or refusal or unfit else tuple(members),
            done=any((end, failure, refusal, unfit)), failure=failure, note=note, refusal=refusal,
            unfit=unfit,
        )  # fmt: skip
        self.conductor.message(self.worker(worker), message)

    def _numbers(self, value: Callable[[int], float] | None, place: int) -> bytes:
        numbers = np.zeros(self.length, dtype="<f4")
        numbers[[self.objective, self.tested]] = 0.5 if value is None else value(place)
        return numbers.tobytes()

    def runs(self) -> list[Run]:
        return self.store.runs(self.sweep_id)


@contextmanager
def staged(folder: Path, spec_text: str = SPEC) -> Iterator[Stage]:
    """A launch that has planned everything and begun nothing."""
    spec, clock = parse(spec_text), SimpleNamespace(now=1000.0)
    said: list[object] = []
    maker = CellMaker(spec)
    cells = Planned(spec, maker)
    first = cells.first()
    layout = tuple(data_facts.layout(maker.facts))
    url = f"sqlite:///{folder}/staged.db"
    with Store.open(url, create=True) as store:
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name, question="", spec_text=spec.text, spec=spec.model_dump(mode="json"),
                layout=layout, facts=maker.facts, provenance={},
            )
        )  # fmt: skip
        lease = store.acquire(sweep.id, leases.here())
        quiet: Any = SimpleNamespace(
            count=0, reason="", preempted=False, sync=lambda *a: 0, check=lambda: None
        )
        request = Request(
            spec=spec,
            storage=url,
            interrupts=quiet,
            say=said.append,
            clock=lambda: clock.now,
        )
        launch = Launch(
            Session(
                request=request,
                maker=maker,
                cells=cells,
                first=first,
                store=store,
                lease=lease,
                sweep=sweep,
                study=quiet,
                heartbeat=quiet,
            )
        )
        launch.prepare()
        packer = Packer(spec, store, lease, launch.tracker, workers=lambda: 1)
        launch.conductor = launch.make_conductor(packer, lambda: 1)
        launch.conductor.end_stopped()
        launch.conductor.enqueue(launch._open)
        launch.conductor.enqueue(packer.pack(launch.tracker.unpacked()))
        objective = launch.objective
        tested = layout.index(("test", spec.objective.metric, ""))
        conductor = launch.conductor
        yield Stage(store, sweep.id, conductor, launch, clock, len(layout), objective, tested, said)
