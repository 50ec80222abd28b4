"""The driver's loop, seen from inside: hands out packs, takes in messages, decides what follows.

Everything here runs in one thread, between two events of Ray Tune. What is true is in the
database; the board and the queue are rebuilt from it by every launch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from sweeper.engine import endings
from sweeper.engine.board import Board, RunNow
from sweeper.engine.breaker import Breaker
from sweeper.engine.cells import Cells
from sweeper.engine.eta import Eta, Seen
from sweeper.engine.messages import Job, JobMember, MemberResult, Message, Reached, Refusal
from sweeper.engine.packing import Packer
from sweeper.engine.places import Checkpoints
from sweeper.engine.pruning import Pruning, group_of
from sweeper.engine.recorder import Recorder, reports_of, value_at
from sweeper.engine.trials import Worker
from sweeper.errors import EngineError
from sweeper.spec import Spec
from sweeper.states import Ending, RunState
from sweeper.store.records import Cell, End, Lease, NewCell, Pack, Report
from sweeper.store.store import Store

SAVE_SECONDS = 20.0  # for a checkpoint, when the driver stops
MIRROR_SECONDS = 2.0


@dataclass(kw_only=True)
class Flight:
    """A pack that a worker has."""

    pack: Pack
    attempts: dict[int, int]  # open run -> attempt
    worker: Worker | None = None
    began: float | None = None
    reached: Reached = field(default_factory=Reached)
    killed_for: Ending | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not change during a launch."""

    workers: int
    threads: int
    device: str
    plugins: tuple[str, ...]
    checkpoints: Checkpoints
    objective: int  # its index in a round's numbers


@dataclass(kw_only=True)
class Hands:
    """What the conductor works with."""

    spec: Spec
    store: Store
    lease: Lease
    board: Board
    cells: Cells
    packer: Packer
    pruning: Pruning | None
    fingerprints: Callable[[], dict[str, str]]
    add_cells: Callable[[Sequence[NewCell]], list[Cell]]
    mirror: Callable[[], None]
    watch: Callable[[], None]  # called at each tick: lease, signals, progress
    cell_finished: Callable[[int], None]
    impatient: Callable[[], bool]  # asked to stop at once
    say: Callable[[str], None]
    clock: Callable[[], float] = field(default=time.monotonic)


class Conductor:
    """Implements `trials.Events` for one launch."""

    def __init__(self, hands: Hands, settings: Settings, *, hours_left: float | None) -> None:
        self.draining = False
        self.halted = ""
        self.eta = Eta(settings.workers)
        self.flights: dict[str, Flight] = {}
        self._hands, self._settings = hands, settings
        self._board = hands.board
        self._queue: deque[int] = deque()
        limits = hands.spec.limits
        self._breaker = Breaker(failures=limits.failures, attempts=limits.attempts)
        self._recorder = Recorder(
            hands.store, hands.lease, hands.board,
            max_attempts=limits.attempts, on_cell=self._cell_finished, clock=hands.clock,
        )  # fmt: skip
        self._until = None if hours_left is None else hands.clock() + 3600 * hours_left
        self._mirror_due = False
        self._mirrored_at = hands.clock()
        self._said: set[str] = set()
        self._killed: list[Worker] = []  # those that had said done just before

    # --- the source of packs

    def enqueue(self, packs: Sequence[Pack]) -> None:
        """Puts packs behind the others."""
        for pack in packs:
            self.eta.queued(pack.seconds)
            self._queue.append(pack.id)

    def next_job(self, trial_id: str) -> Job | None:
        if self.draining:
            return None
        if not self._queue:
            self._more_cells()
        while self._queue:
            pack = self._board.packs.get(self._queue.popleft())
            if pack is None:
                continue
            self.eta.queued(pack.seconds, sign=-1)
            open_runs = self._board.open_runs(pack)
            if open_runs:
                return self._begin(trial_id, pack, open_runs)
        return None

    def exhausted(self) -> bool:
        return self.draining or not (self._queue or self.flights)

    def _more_cells(self) -> None:
        wanted = self._settings.workers - len(self.flights)
        new = self._hands.cells.more(wanted)
        if new:
            self._take_in(new, idle=wanted)

    def _take_in(self, new: Sequence[NewCell], *, idle: int = 1) -> None:
        self._hands.add_cells(new)
        # Workers that have packs of their own need none of these: no reason to spread them thin.
        self.enqueue(self._hands.packer.pack(self._board.unpacked(), workers=max(idle, 1)))

    def _begin(self, trial_id: str, pack: Pack, open_runs: Sequence[RunNow]) -> Job:
        ids = [run.id for run in open_runs]
        attempts = self._hands.store.begin(self._hands.lease, pack.id, ids)
        for run in ids:
            self._board.move(run, RunState.RUNNING)
        job = self._job(pack, attempts)
        self.flights[trial_id] = Flight(pack=pack, attempts=dict(attempts))
        return job

    def _job(self, pack: Pack, attempts: dict[int, int]) -> Job:
        runs = [self._board.runs[run] for run in pack.run_ids if run in self._board.runs]
        settings, spec = self._settings, self._hands.spec
        folder = settings.checkpoints.of_pack(self._hands.lease.sweep_id, pack=pack.id)
        return Job(
            pack=pack.id,
            members=tuple(
                JobMember(
                    run=run.id,
                    attempt=attempts.get(run.id, 0),
                    replicate=run.replicate,
                    config=self._board.cells[run.cell_id].config,
                )
                for run in runs
            ),
            drops={run.id: run.left_by for run in runs if run.finished},
            recorded=min(run.epoch for run in runs if not run.finished),
            form=pack.form or "folded",
            threads=self._hands.packer.threads(pack) or settings.threads,
            device=settings.device,
            checkpoint_dir=str(folder),
            checkpoint_seconds=spec.limits.checkpoint_seconds,
            fingerprints=self._hands.fingerprints(),
            plugins=settings.plugins,
        )

    def _forget(self, pack: Pack) -> None:
        """Removes the checkpoints of a pack that nobody goes on with."""
        self._settings.checkpoints.remove(self._hands.lease.sweep_id, pack=pack.id)

    # --- what trials do

    def tick(self) -> None:
        self._hands.watch()
        now = self._hands.clock()
        self._recorder.tick()
        if self._mirror_due and now - self._mirrored_at >= MIRROR_SECONDS:
            self.mirror()
        if not self.draining and self._until is not None and now >= self._until:
            self.halt(f"the limit of {self._hands.spec.limits.hours:g} hours is reached")
        self._end_overdue(now)

    def mirror(self) -> None:
        """Lets the Optuna view catch up."""
        self._hands.mirror()
        self._mirror_due, self._mirrored_at = False, self._hands.clock()

    def drain(self) -> None:
        """No further pack; those in flight end after their round."""
        self.draining = True

    def halt(self, reason: str) -> None:
        """Drains, because going on is of no use."""
        self.halted = self.halted or reason
        self.drain()

    def trial_started(self, trial_id: str, worker: Worker) -> None:
        flight = self.flights.get(trial_id)
        if flight is not None:
            flight.worker, flight.began = worker, self._hands.clock()

    def trial_message(self, trial_id: str, message: Message, worker: Worker) -> None:
        flight = self.flights.get(trial_id)
        if flight is None:
            return
        if message.failure is not None:
            self._failed(trial_id, *message.failure)
            return
        if message.refusal is not None:
            self._refused(trial_id, message.refusal)
            return
        flight.reached = message.reached
        share = (message.reached.round - message.from_epoch) / message.reached.rounds
        self.eta.round(trial_id, Seen(flight.pack.seconds, share, message.seconds))
        self._say_once(message.note)
        # A worker hears of a member that was ended here only after the round it is in.
        strays = [m.run for m in message.members if m.run not in flight.attempts]
        if strays and not message.done:
            worker.drop(strays)
        members = tuple(m for m in message.members if m.run in flight.attempts)
        if message.reached.evaluation:
            members = self._pruned(message.reached, members, worker)
        self._recorder.add(reports_of(message, members=members, objective=self._settings.objective))
        self._judge(flight, members)
        if message.done or not flight.attempts:
            self._done(trial_id)
        elif self.draining:
            self._recorder.flush()
            worker.save_now(timeout=SAVE_SECONDS, give_up=self._hands.impatient)

    def trial_over(self, trial_id: str) -> None:
        """Ended before its pack was: the driver drains."""
        flight = self.flights.pop(trial_id, None)
        if flight is not None:
            self.eta.over(trial_id, whole=False)
            self._cancel(flight, "the driver was asked to stop")

    def trial_lost(self, trial_id: str, text: str) -> None:
        flight = self.flights.get(trial_id)
        if flight is None:
            return
        ending, error = endings.of_ray(text)
        if flight.worker in self._killed:  # for the pack it had before: not this one's fault
            ending, error = Ending.CANCELLED, f"its worker was killed for another pack\n{error}"
        self._failed(trial_id, flight.killed_for or ending, error)

    def cancel_all(self, why: str) -> None:
        """Ends every open attempt; its run may be tried again at no cost."""
        for flight in list(self.flights.values()):
            self._cancel(flight, why)
        self.flights.clear()
        self._recorder.flush()

    def _cancel(self, flight: Flight, why: str) -> None:
        self._recorder.add(_ends(flight, Ending.CANCELLED, why))

    def _pruned(
        self, reached: Reached, members: tuple[MemberResult, ...], worker: Worker
    ) -> tuple[MemberResult, ...]:
        """The members, those of cells that the pruner stops marked as ended."""
        pruning = self._hands.pruning
        if pruning is None:
            return members
        ended = {m.run for m in members if m.end is not None}
        stopped = {
            self._board.runs[m.run].cell_id
            for m in members
            if m.end is None and self._should_stop(pruning, reached, m, ended)
        }
        members = tuple(
            m.ended(Ending.PRUNED)
            if m.end is None and self._board.runs[m.run].cell_id in stopped
            else m
            for m in members
        )
        gone = [m.run for m in members if m.end is Ending.PRUNED]
        if gone:
            worker.drop(gone)
        self._prune_elsewhere(stopped, but={m.run for m in members})
        return members

    def _should_stop(
        self, pruning: Pruning, reached: Reached, member: MemberResult, ended: set[int]
    ) -> bool:
        cell = self._board.cells[self._board.runs[member.run].cell_id]
        runs = self._board.of_cell[cell.id]
        if any(run.state is RunState.COMPLETE for run in runs):
            return False  # it has a value, which further replicates make more exact
        return pruning.see(
            cell.id,
            group=group_of(cell, self._hands.spec.scientific),
            run=member.run,
            evaluation=reached.evaluation,
            value=value_at(member.numbers, self._settings.objective),
            of=[run.id for run in runs if run.valued_at(reached.epoch) and run.id not in ended],
        )

    def _prune_elsewhere(self, cells: Collection[int], *, but: Collection[int]) -> None:
        """Ends the other open runs of stopped cells, wherever they are or wait."""
        runs = {r.id: r for cell in cells for r in self._board.of_cell[cell] if r.id not in but}
        end = End(ending=Ending.PRUNED)
        reports = [
            Report(run_id=run.id, attempt_id=0, end=end)
            for run in runs.values()
            if run.state is RunState.PENDING
        ]
        for flight in self.flights.values():
            gone = [run for run in flight.attempts if run in runs]
            reports += [
                Report(run_id=run, attempt_id=flight.attempts.pop(run), end=end) for run in gone
            ]
            if gone and flight.worker is not None:
                flight.worker.drop(gone)
        self._recorder.add(reports)

    def _say_once(self, note: str) -> None:
        if note and note not in self._said:
            self._said.add(note)
            self._hands.say(note)

    def _judge(self, flight: Flight, members: Sequence[MemberResult]) -> None:
        """Lets go of members that have ended; a round that fails for some only is a success."""
        ended = {member.run: member.end for member in members if member.end is not None}
        for run in ended:
            flight.attempts.pop(run, None)
        failed = {r: e for r, e in ended.items() if e not in (Ending.COMPLETE, Ending.PRUNED)}
        if len(failed) == len(members):
            for run, ending in failed.items():
                self._break(ending, [run])
        elif ended:
            self._breaker.success()

    def _break(self, ending: Ending, runs: Sequence[int]) -> None:
        self._breaker.failure(ending, self._board.cells_of(runs))
        if self._breaker.tripped:
            self.halt(self._breaker.tripped)

    def _done(self, trial_id: str) -> None:
        flight = self.flights.pop(trial_id)
        if flight.killed_for is not None and flight.worker is not None:
            self._killed.append(flight.worker)
        self.eta.over(trial_id, whole=True)
        if flight.attempts:  # said done, and yet some have no end: never silently
            self._recorder.add(_ends(flight, Ending.ERROR, "the worker left this run out"))
            self._again(flight, Ending.ERROR)
        else:
            self._forget(flight.pack)

    def _failed(self, trial_id: str, ending: Ending, error: str) -> None:
        flight = self.flights.pop(trial_id)
        self.eta.over(trial_id, whole=False)
        self._recorder.add(_ends(flight, ending, error))
        self._break(ending, list(flight.attempts))
        self._again(flight, ending)

    def _again(self, flight: Flight, ending: Ending) -> None:
        """The pack's open runs: as the same pack, or in smaller ones when that may help."""
        pack = flight.pack
        open_runs = self._board.open_runs(pack)
        if not open_runs:
            self._forget(pack)
            return
        k = self._smaller(len(pack.run_ids), open_runs, ending)
        if k is None:
            self.enqueue([pack])
            return
        self._split(pack, open_runs, k=k)

    def _split(
        self, pack: Pack, open_runs: Sequence[RunNow], *, k: int, form: str | None = None
    ) -> None:
        self._hands.store.dissolve(self._hands.lease, pack.id)
        self._board.dissolve(pack.id)
        self._forget(pack)
        self.enqueue(self._hands.packer.split(pack, open_runs, k=k, form=form))

    def _refused(self, trial_id: str, refusal: Refusal) -> None:
        """A node computes the pack's form wrongly: its open runs go on in the next form.

        Raises:
            EngineError: no form is right there.
        """
        if not refusal.form:
            raise EngineError(refusal.text)
        flight = self.flights.pop(trial_id)
        pack = flight.pack
        self._say_once(refusal.text)
        self._recorder.add(_ends(flight, Ending.CANCELLED, refusal.text))
        self._recorder.flush()
        self._hands.packer.change_form(pack.key, refusal.form, refusal.text)
        self._split(pack, self._board.open_runs(pack), k=len(pack.run_ids), form=refusal.form)

    def _smaller(self, k: int, open_runs: Sequence[RunNow], ending: Ending) -> int | None:
        """Before the last attempt: alone, lest one takes the rest. Out of memory: half as many."""
        if k == 1:
            return None
        last = self._hands.spec.limits.attempts - 1
        if last > 0 and any(run.failures >= last for run in open_runs):
            return 1
        return k // 2 if ending in (Ending.OUT_OF_MEMORY, Ending.HOST_OUT_OF_MEMORY) else None

    def _end_overdue(self, now: float) -> None:
        limit = self._hands.spec.limits.run_seconds
        if limit is None:
            return
        for flight in self.flights.values():
            late = flight.began is not None and now - flight.began > limit
            if late and flight.worker is not None and flight.killed_for is None:
                flight.killed_for = Ending.TIMEOUT
                flight.worker.kill()

    # --- what follows from the end of a cell

    def _cell_finished(self, cell_id: int) -> None:
        cell, board = self._board.cells[cell_id], self._board
        self._mirror_due = True
        self._hands.cell_finished(cell_id)
        if self._hands.pruning is not None:
            states = {run.state for run in board.of_cell[cell_id]}
            self._hands.pruning.end(
                cell_id, value=board.mean(cell_id), pruned=RunState.PRUNED in states
            )
        new = self._hands.cells.after(cell, {cell.hash: board.values(cell_id)})
        if new:
            self._take_in(new)

    def running_seconds(self) -> float | None:
        """What the packs in flight still need; None while nobody knows."""
        left = 0.0
        for flight in self.flights.values():
            price = self.eta.price(flight.pack.seconds)
            if price is None:
                return None
            left += price * max(0.0, 1 - flight.reached.round / flight.reached.rounds)
        return left


def _ends(flight: Flight, ending: Ending, error: str) -> list[Report]:
    return [
        Report(run_id=run, attempt_id=attempt, end=End(ending=ending, error=error))
        for run, attempt in flight.attempts.items()
    ]
