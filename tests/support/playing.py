"""A sweep that goes on step by step: a driver without Ray, whose workers play a planted plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import planted
from planted import Plan

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.lease import here
from sweeper.store.records import End, NewPack, Pack, Report


@dataclass
class Busy:
    """A worker's pack: its runs and attempts, and the last epoch of it."""

    pack: Pack
    attempts: dict[int, int]
    epoch: int = 0


@dataclass
class Play:
    """A launch of `plan` on `store`; `step` is one round of every worker."""

    store: Store
    plan: Plan
    size: int = 4  # runs of a pack
    workers: int = 2
    seconds: float = 1.5  # of an epoch
    max_attempts: int = 2
    busy: list[Busy | None] = field(default_factory=list)
    again: set[int] = field(default_factory=set)  # runs that are tried a second time

    def __post_init__(self) -> None:
        about = {"spec_file": "batch_size", **self.plan.sweep.provenance}
        self.sweep = self.store.create_sweep(replace(self.plan.sweep, provenance=about))
        self.lease = self.store.acquire(self.sweep.id, here())
        self.store.update_sweep(self.lease, state="running")
        cells = self.store.add_cells(self.lease, self.plan.cells)
        place = {cell.id: at for at, cell in enumerate(cells)}
        runs = self.store.runs(self.sweep.id)
        self.key = {run.id: (place[run.cell_id], run.replicate) for run in runs}
        order = sorted(runs, key=lambda run: (run.replicate >= 0, abs(run.replicate), run.cell_id))
        packs = [
            NewPack(
                key="k",
                run_ids=tuple(run.id for run in some),
                form="folded",
                seconds=self.seconds * self.plan.epochs,
            )
            for some in batched_by(order, self.size)
        ]
        self.queue = deque(self.store.add_packs(self.lease, packs))
        self.busy = [None] * self.workers

    def step(self) -> bool:
        """One round of every worker; returns whether anything is left."""
        for at, one in enumerate(self.busy):
            if one is None:
                self.busy[at] = self._next()
            else:
                self.busy[at] = self._round(one, at)
        return any(self.busy) or bool(self.queue)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def until(self, ended: int) -> None:
        """Goes on until so many runs have ended."""
        while sum(run.state.value in ("complete", "failed", "pruned")
                  for run in self.store.runs(self.sweep.id)) < ended and self.step():  # fmt: skip
            pass

    def finish(self) -> None:
        while self.step():
            pass
        self.end(state="complete")

    def end(self, *, state: str, reason: str = "") -> None:
        """The driver leaves."""
        self.store.update_sweep(self.lease, state=state, state_reason=reason)
        self.store.release(self.lease)

    def _next(self) -> Busy | None:
        if not self.queue:
            return None
        pack = self.queue.popleft()
        return Busy(pack, self.store.begin(self.lease, pack.id, pack.run_ids))

    def _round(self, one: Busy, worker: int) -> Busy | None:
        one.epoch += 1
        reports = list(self._reports(one, worker))
        states = self.store.record(self.lease, reports, max_attempts=self.max_attempts)
        for report in reports:
            if report.end is not None:
                del one.attempts[report.run_id]
                if states[report.run_id] is RunState.PENDING:
                    self._try_again(report.run_id)
        return one if one.attempts else None

    def _try_again(self, run: int) -> None:
        self.again.add(run)
        pack = NewPack(key="k", run_ids=(run,), form="folded", seconds=self.seconds)
        self.queue += self.store.add_packs(self.lease, [pack])

    def _reports(self, one: Busy, worker: int) -> Iterator[Report]:
        for run, attempt in one.attempts.items():
            key = self.key[run]
            ending, error = self.plan.endings.get(key, (Ending.COMPLETE, ""))
            if run in self.again:
                ending, error = Ending.COMPLETE, ""
            last = planted.epoch_of(self.plan, ending)
            numbers: Any = self.plan.numbers[key][one.epoch - 1]
            end = None
            if one.epoch == last:
                assert ending is not None
                metric = self.plan.sweep.spec["objective"]["metric"]
                value = float(numbers[self.plan.layout.index(("val", metric, ""))])
                done = ending is Ending.COMPLETE
                end = End(ending=ending, value=value if done else None, error=error,
                          correct=self.plan.correct.get(key))  # fmt: skip
            yield Report(run_id=run, attempt_id=attempt, epoch=one.epoch, step=10 * one.epoch,
                         numbers=numbers.tobytes(), seconds=self.seconds * one.epoch,
                         from_epoch=0, node="node-1", device=f"cuda:{worker}", end=end)  # fmt: skip


def batched_by(runs: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Packs of at most `size` runs; tuning runs and reported ones never share a pack."""
    for tuning in (True, False):
        mine = [run for run in runs if (run.replicate < 0) is tuning]
        for start in range(0, len(mine), size):
            yield tuple(mine[start : start + size])
